// One stream of an HTTP/2 connection as the codec and its owner see it: the heads that came, and
// the body that is to go. Lent to the owner from the event that shows it first until kClosed;
// lives in a pool that all connections of a worker share, and keeps its memory there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "gateway/base/arena.h"
#include "gateway/base/buffer.h"
#include "gateway/base/error.h"
#include "gateway/base/intrusive_list.h"
#include "gateway/http/codec.h"
#include "gateway/http/http2_rules.h"
#include "gateway/http/message.h"

namespace sluice {

// Collects the fields of one head or trailer section. What is over the limit is counted but not
// kept (RFC 9113 10.5.1).
class Http2FieldCollector {
 public:
  void Start(HeaderList& fields, uint32_t max_bytes, uint32_t max_fields);
  void RefusePseudo() { pseudo_refused_ = true; }  // until the next Start: trailers
  void Add(std::string_view name, std::string_view value, Arena& arena);
  // Joins the Cookie fields into one (RFC 9113 8.2.3). Nothing is added after it.
  void Finish(Arena& arena);

  const Http2PseudoFields& pseudo() const { return pseudo_; }
  bool is_too_large() const { return too_large_; }
  uint64_t bytes() const { return bytes_; }  // as RFC 9113 6.5.2 counts them

 private:
  // False for one that is unknown, repeated, or behind a field: it is kept as a field, whose name
  // no rule lets pass.
  bool AddPseudo(std::string_view name, std::string_view value, Arena& arena);
  std::string_view* FindPseudo(std::string_view name);

  HeaderList* fields_ = nullptr;
  Http2PseudoFields pseudo_;
  std::vector<std::string_view> cookies_;
  uint64_t bytes_ = 0;
  uint32_t count_ = 0;
  uint32_t max_bytes_ = 0;
  uint32_t max_fields_ = 0;
  bool too_large_ = false;
  bool pseudo_refused_ = false;
};

// Body bytes on their way out. What is added is lent until the callback ends. Then Hold makes it
// last for the turn, or Keep for as long as it takes.
class Http2BodyQueue {
 public:
  struct Piece {
    std::string_view bytes;
    bool is_kept = false;  // valid until Pop; otherwise lent
  };

  void Add(std::string_view lent);
  size_t size() const { return size_; }
  // Precondition: it is not empty.
  Piece Front(size_t limit) const;
  void Pop(size_t count);     // of what Front gave
  void Hold(Arena& scratch);  // copies what is lent to where it lasts for the turn
  void Keep();                // copies what has not been taken
  void Clear();

 private:
  Buffer kept_;
  std::vector<std::string_view> lent_;  // behind what is kept
  size_t lent_taken_ = 0;
  size_t held_ = 0;  // pieces of lent_ that last for the turn
  size_t size_ = 0;
};

// A field that is to be sent. Names may have any case.
struct Http2Field {
  std::string_view name;
  std::string_view value;
};

class Http2Stream final : public ListNode<Http2Stream> {
 public:
  int32_t id() const { return id_; }
  RequestHead& request() { return request_; }           // server role, from its kHead on
  ResponseHead& response() { return rest().response; }  // client role, the same
  const HeaderList& trailers() const { return known_rest().trailers; }  // from kEnd on

  const Error& error() const { return known_rest().error; }  // why it was refused or reset by us
  bool remote_ended() const { return remote_ended_; }
  bool is_closed() const { return closed_; }
  size_t unsent() const { return body_.size(); }         // of the body, waiting for the peer
  uint64_t bytes_received() const { return received_; }  // header and body bytes
  uint64_t bytes_sent() const { return sent_; }

  // The owner's own object for this stream.
  void set_owner(void* owner) { owner_ = owner; }
  void* owner() const { return owner_; }

 private:
  friend class Http2Codec;
  friend class Http2StreamPool;

  // What most streams of a server do without: theirs is not looked at.
  struct Rest {
    ResponseHead response;                               // client role
    std::vector<std::unique_ptr<ResponseHead>> interim;  // informational
    HeaderList trailers;
    std::vector<Http2Field> trailers_to_send;  // in arena_
    Error error;
  };

  void Reset();  // for another stream; keeps memory
  Rest& rest() {
    has_rest_ = true;
    return rest_;
  }
  const Rest& known_rest() const { return has_rest_ ? rest_ : NoRest(); }
  static const Rest& NoRest();

  // Many streams are open at one time: what is used again for the response stands together.
  int32_t id_ = 0;
  Method request_method_ = Method::kGet;
  bool announced_ = false;     // the owner knows it
  bool rejected_ = false;      // what still comes on it is ignored
  bool malformed_ = false;     // that is why
  bool head_done_ = false;     // the final head has come
  bool remote_ended_ = false;  // END_STREAM has come
  bool local_ended_ = false;   // the owner has finished its message
  bool end_sent_ = false;      // and that has left
  bool unwanted_ = false;      // nobody waits for what the peer still sends
  bool aborted_ = false;       // the owner cannot
  bool closed_ = false;
  bool touched_ = false;   // has output that the callback's end must keep
  bool deferred_ = false;  // its data waits to be resumed
  bool blocked_ = false;   // kBlocked was reported
  bool reset_by_owner_ = false;
  bool head_held_ = false;       // to be announced with the end
  bool last_byte_held_ = false;  // to be reported with the end
  bool has_rest_ = false;
  char last_byte_ = 0;
  uint64_t body_left_ = 0;  // server role: what content-length still promises
  size_t unconsumed_ = 0;
  uint64_t received_ = 0;
  uint64_t sent_ = 0;
  void* owner_ = nullptr;
  Http2BodyQueue body_;
  Arena arena_{2048};
  RequestHead request_;  // of the stream before, until the first field comes
  Rest rest_;
};

// Which streams a client has passed over: RFC 9113 5.1.1 closes them, and a head on one of them is
// an error of the connection, while one on a stream that has been open may be late.
class Http2StreamIds {
 public:
  // A head on stream `id`. False: it had been passed over.
  bool Open(int32_t id);

 private:
  static constexpr size_t kMostGaps = 16;  // what is remembered; no client needs as many

  struct Gap {
    int32_t first;
    int32_t last;
  };
  int32_t last_ = -1;
  std::vector<Gap> gaps_;
};

class Http2StreamPool {
 public:
  std::unique_ptr<Http2Stream> Take();
  void Give(std::unique_ptr<Http2Stream> stream);

 private:
  static constexpr size_t kMostFree = 256;

  std::vector<std::unique_ptr<Http2Stream>> free_;
};

}  // namespace sluice
