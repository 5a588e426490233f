// A request as plugins see and change it: from the match of its route to its log line. What a
// plugin sets is copied into the request's arena, so any view may be given. Owned by the exchange,
// dies with it; used on the loop thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "gateway/base/arena.h"
#include "gateway/base/result.h"
#include "gateway/base/time.h"
#include "gateway/http/message.h"
#include "gateway/http/request_view.h"
#include "gateway/http/text_template.h"
#include "gateway/http/variables.h"
#include "gateway/plugin/services.h"
#include "gateway/plugin/ticket.h"
#include "gateway/plugin/verdict.h"

namespace sluice {

class ChainRun;
class SubRequestSender;
struct Consumer;

// The reply that a plugin has made.
struct PluginReply {
  int status = 0;
  std::string_view body;
  std::string_view content_type;
  std::string_view message;  // the body's text without its form, for gRPC; may be empty
};

// What is sent to the upstream instead of what the client sent; empty: the client's.
struct UpstreamRewrite {
  std::string_view method;
  std::string_view target;  // path and query, in origin form
  std::string_view host;
};

// A change of the response that is asked for before there is one.
struct HeaderChange {
  enum class Kind : uint8_t { kSet, kAdd, kRemove };
  Kind kind = Kind::kSet;
  std::string_view name;
  std::string_view value;
};

// What logs must not show as it was sent.
struct LogSecret {
  enum class Kind : uint8_t { kArgument, kCookie, kHeader };
  Kind kind = Kind::kHeader;
  std::string_view name;
  std::string_view shown;
};

// As a field value has to be (RFC 9110 5.5): controls become spaces, and there are none around it.
std::string_view CopyFieldValue(std::string_view value, Arena& arena);

class RequestContext {
 public:
  explicit RequestContext(ChainRun& run) : run_(run) {}
  RequestContext(const RequestContext&) = delete;
  RequestContext& operator=(const RequestContext&) = delete;

  // --- to read

  const RequestView& view() const { return *view_; }
  const RequestHead& head() const { return *view_->head; }
  // The value of the first field of that name; null data() when there is none.
  std::string_view Header(std::string_view name) const;
  // $remote_addr, $arg_x …: null data() when the request does not have it.
  std::string_view Value(const Variable& variable);
  std::string_view Expand(const TextTemplate& text);
  // The same; null data() when the request has none of the text's variables.
  std::string_view ExpandKnown(const TextTemplate& text);
  std::string_view ExpandUri(const TextTemplate& text);  // values escaped
  // The whole body; only where the plugin asked for it (request_body_limit).
  std::string_view body() const { return body_; }
  const Consumer* consumer() const { return consumer_; }  // null: nobody has said who it is
  std::string_view route_id() const { return route_id_; }
  PluginServices& services() const { return *services_; }
  Arena& arena() const { return *arena_; }  // lives as long as the request
  // Sends requests of the plugin's own: gateway/plugin/sub_request.h.
  std::shared_ptr<SubRequestSender> sender() const;
  // In OnLog: the first bytes of the client's body, as many as any plugin's request_body_sample.
  std::string_view body_sample() const;
  // In OnLog: the response's as header_filter has left them, after ResponseContext::KeepFields.
  const HeaderList& response_fields() const { return response_fields_; }

  // --- to change, in rewrite and access. In shadow mode nothing happens.

  void SetHeader(std::string_view name, std::string_view value);
  void AddHeader(std::string_view name, std::string_view value);
  void RemoveHeader(std::string_view name);
  // What the upstream is asked for: "/path?query". Normalised as every path is; an error when that
  // refuses it, or for dot segments, which a value may have brought in. $uri and the log keep what
  // the client asked for.
  Status SetUpstreamUri(std::string_view uri);
  void SetUpstreamMethod(std::string_view method);
  void SetUpstreamHost(std::string_view host);
  std::string_view upstream_uri();      // as it is now, "/path?query"
  void SetBody(std::string_view body);  // precondition: it has asked, or there is no body
  void SetClientAddress(const IpAddress& ip, uint16_t port = 0);  // 0: it is not known
  // How long a body the client may send, instead of client_max_body_size; 0: any. More is answered
  // with 413, or cut when the upstream has begun to answer.
  void SetBodyLimit(uint64_t bytes);
  // Another upstream than the route's: what PluginBuild::UpstreamAt has given.
  void SetUpstream(int32_t upstream);
  // Who sends this, and by which credential object, if any. The consumer's plugins join the chain
  // behind the phase rewrite; the upstream is told in X-Consumer-Username and others.
  void SetConsumer(const Consumer& consumer, std::string_view credential_id = {});
  // What the client sent there is a secret: logs show "***" for the parameter of the query or the
  // cookie, `shown` for the field. Also in shadow mode.
  void HideArgumentInLogs(std::string_view name);
  void HideCookieInLogs(std::string_view name);
  void HideHeaderInLogs(std::string_view name, std::string_view shown = "***");
  // Of the response, whoever makes it.
  void SetResponseHeader(std::string_view name, std::string_view value);
  void AddResponseHeader(std::string_view name, std::string_view value);

  // --- to end or hold it; for `return`

  // Without a body a status from 400 gets {"error_msg":"403 Forbidden"}.
  Verdict Reply(int status);
  Verdict Reply(int status, std::string_view body,
                std::string_view content_type = "application/json");
  // {"message":"..."} and {"error_msg":"..."}, with a line end: most of APISIX's replies.
  Verdict ReplyMessage(int status, std::string_view message);
  Verdict ReplyErrorMessage(int status, std::string_view message);
  // `detail` is for the log: what was expected and what came. What follows is as the plugin's
  // traits say, or as `mode` does.
  Verdict Fail(std::string_view detail, std::optional<FailureMode> mode = {});
  // Goes on after that time, with `then`: a reply that was made already, for example.
  Verdict Delay(Duration time, Verdict then = Verdict::kContinue);
  // The request waits until the ticket is resumed, at most `limit`. Return Verdict::kSuspend.
  Ticket Suspend(Duration limit);

  // --- what a plugin remembers of this request: made at its first use in any phase, destroyed with
  // the request. T is found by the plugin's object, so each configured plugin has one.
  template <typename T>
  T& State() {
    if (void* const found = FindState()) return *static_cast<T*>(found);
    T* const made = ::new (AllocateState(sizeof(T), alignof(T))) T();
    if constexpr (std::is_trivially_destructible_v<T>) {
      AddState(made, nullptr);
    } else {
      AddState(made, [](void* state) { static_cast<T*>(state)->~T(); });
    }
    return *made;
  }

 private:
  friend class ChainRun;

  struct StateNode {
    const void* plugin;
    void* state;
    void (*destroy)(void*);
    StateNode* next;
  };

  Verdict ReplyWith(int status, std::string_view member, std::string_view message);
  void* FindState() const;
  void* AllocateState(size_t size, size_t alignment);
  void AddState(void* state, void (*destroy)(void*));
  bool is_shadowed() const;

  ChainRun& run_;
  RequestView* view_ = nullptr;
  RequestHead* head_ = nullptr;
  Arena* arena_ = nullptr;
  PluginServices* services_ = nullptr;
  const Consumer* consumer_ = nullptr;
  std::string_view route_id_;
  std::string_view body_;
  std::optional<uint64_t> body_limit_;
  PluginReply reply_;
  UpstreamRewrite rewrite_;
  int32_t upstream_ = -1;
  std::vector<HeaderChange> response_changes_;
  HeaderList response_fields_;
  std::vector<LogSecret> log_secrets_;
  StateNode* states_ = nullptr;
  std::string scratch_;
  std::string expanded_;
};

// The response's head in header_filter.
class ResponseContext {
 public:
  ResponseContext(ResponseHead& head, Arena& arena, bool from_upstream)
      : head_(head), arena_(arena), from_upstream_(from_upstream) {}

  int status() const { return head_.status; }
  bool is_from_upstream() const { return from_upstream_; }  // false: a plugin's, or ours
  const ResponseHead& head() const { return head_; }
  std::string_view Header(std::string_view name) const;

  void SetStatus(int status);
  void SetHeader(std::string_view name, std::string_view value);
  void AddHeader(std::string_view name, std::string_view value);
  void RemoveHeader(std::string_view name);

  // Without one of these OnBodyFilter is not called for this response. It sees all pieces of the
  // body and leaves its length as it is, or changes it: to a length that is known or not.
  void WatchBody() { watched_ = true; }
  void ChangeBody();
  void ChangeBody(uint64_t length);

  void KeepFields() { keeps_fields_ = true; }
  bool keeps_fields() const { return keeps_fields_; }

 private:
  friend class ChainRun;

  ResponseHead& head_;
  Arena& arena_;
  const bool from_upstream_;
  bool shadowed_ = false;
  bool watched_ = false;  // by the plugin that is asked
  bool keeps_fields_ = false;
};

// A piece of the response's body on its way to the client. A body without bytes has one piece.
class BodyPiece {
 public:
  BodyPiece(std::string_view bytes, bool is_last) : bytes_(bytes), is_last_(is_last) {}

  std::string_view bytes() const { return bytes_; }
  bool is_last() const { return is_last_; }
  void Set(std::string bytes) {
    owned_ = std::move(bytes);
    bytes_ = owned_;
  }
  void Clear() { bytes_ = {}; }
  bool is_owned() const { return bytes_.data() == owned_.data(); }

 private:
  std::string_view bytes_;
  std::string owned_;
  const bool is_last_;
};

}  // namespace sluice
