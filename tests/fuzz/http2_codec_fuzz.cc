// The codec in both roles, fed in pieces by a peer that may send anything: what it reports follows
// the rules of HTTP, its output is bounded, and an owner that answers, resets and consumes at any
// time breaks nothing. Input: one byte of options, one byte N, N bytes that say how pieces are cut
// and what the owner does (used in turn), then the bytes of the peer.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/http/http2_codec.h"
#include "gateway/http/hygiene.h"

namespace {

using sluice::Http2Codec;
using sluice::Http2Event;
using sluice::Http2Field;
using sluice::Http2Stream;
using Kind = sluice::Http2Event::Kind;

// Small, so that the fuzzer reaches them.
constexpr sluice::CodecLimits kLimits{
    .request_line = 100, .head = 400, .fields = 8, .trailers = 200, .informational = 2};
constexpr sluice::Http2Limits kHttp2Limits{.streams = 4,
                                           .stream_window = 1000,
                                           .connection_window = 70000,
                                           .blocked = 100,
                                           .extended_connect = true};

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken property: %s\n", what);
  std::abort();
}

void CheckFields(const sluice::HeaderList& fields) {
  for (const sluice::HeaderField& field : fields) {
    Require(sluice::IsToken(field.name), "a field name is a token");
    Require(sluice::IsFieldValue(field.value), "a field value has no controls");
  }
}

class Owner {
 public:
  Owner(Http2Codec::Role role, std::string_view script)
      : role_(role), script_(script), codec_(role, kLimits, kHttp2Limits, pool_) {
    if (role == Http2Codec::Role::kClient) Request();
  }

  void Feed(std::string_view piece, bool act) {
    const std::string copy(piece);  // on the heap: a read past its end is found
    std::string_view input = copy;
    while (!input.empty()) {
      codec_.Receive(input, now_);
      Take(act);
    }
    Pull();
    Take(act);
  }

  const std::string& text() const { return text_; }

 private:
  void Request() {
    const std::vector<Http2Field> head{
        {":method", "GET"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/"}};
    for (int i = 0; i < 3; ++i) {
      Http2Stream* stream = codec_.SubmitRequest(sluice::Method::kGet, head, i != 1);
      if (stream != nullptr && i == 1) codec_.SubmitEnd(*stream, {});
    }
    Pull();
  }

  void Pull() {
    size_t size = 0;
    for (const std::string_view piece : codec_.Pull(scratch_, 500)) size += piece.size();
    Require(size < 70000, "output is bounded by the limit and a frame");
    codec_.KeepLent();
    scratch_.Reset();
  }

  void Take(bool act) {
    while (const Http2Event* next = codec_.NextEvent()) {
      const Http2Event event = *next;
      Record(event);
      if (act && event.stream != nullptr && event.kind != Kind::kClosed) Act(event);
      if (event.kind == Kind::kData && !act) codec_.Consume(*event.stream, event.data.size());
    }
  }

  void Record(const Http2Event& event) {
    if (event.kind == Kind::kGoaway || event.kind == Kind::kPong) return;
    text_ += std::to_string(event.stream->id()) + " ";
    if (event.kind == Kind::kData) {
      Require(!event.data.empty(), "kData carries bytes");
      text_ += "+" + std::string(event.data);
    } else {
      text_ += std::to_string(static_cast<int>(event.kind));
    }
    text_ += "\n";
    if (event.kind == Kind::kEnd) CheckFields(event.stream->trailers());
    if (event.kind == Kind::kHead) CheckHead(*event.stream);
  }

  void CheckHead(Http2Stream& stream) {
    if (role_ == Http2Codec::Role::kClient) {
      Require(stream.response().status >= 200 && stream.response().status <= 599, "status");
      return CheckFields(stream.response().fields);
    }
    const sluice::RequestHead& head = stream.request();
    CheckFields(head.fields);
    Require(sluice::IsToken(head.method_text), "a method is a token");
    Require(sluice::IsValidAuthority(head.authority), "valid authority");
    Require(head.fields.Has(sluice::HeaderId::kHost), "host is known");
    Require(head.target.find_first_of(std::string_view("\r\n \0", 4)) == std::string_view::npos,
            "a target without white space");
  }

  void Act(const Http2Event& event) {
    Http2Stream& stream = *event.stream;
    const uint8_t action =
        script_.empty() ? 0 : static_cast<uint8_t>(script_[step_++ % script_.size()]);
    if (event.kind == Kind::kData && (action & 1) != 0) codec_.Consume(stream, event.data.size());
    if (role_ == Http2Codec::Role::kClient) {
      if ((action & 14) == 2) codec_.Reset(stream, sluice::Http2ErrorCode::kCancel);
      return;
    }
    const std::vector<Http2Field> fields{{"X-A", "b"}};
    switch (action & 14) {
      case 2:
        return codec_.Reset(stream, sluice::Http2ErrorCode::kCancel);
      case 4:
        return codec_.BeginDrain();
      case 6:
        if (event.kind == Kind::kHead) codec_.SubmitResponse(stream, 204, fields, true);
        return;
      case 8:
        if (event.kind == Kind::kHead) codec_.SubmitInformational(stream, 103, fields);
        return;
      default:
        if (event.kind != Kind::kHead) return;
        codec_.SubmitResponse(stream, 200, fields, false);
        codec_.SubmitData(stream, std::string_view(kBody).substr(0, action * 4));
        if ((action & 16) != 0) codec_.SubmitEnd(stream, fields);
    }
  }

  inline static const std::string kBody = std::string(1024, 'b');

  const Http2Codec::Role role_;
  const std::string_view script_;
  size_t step_ = 0;
  sluice::Http2StreamPool pool_;
  Http2Codec codec_;
  sluice::Arena scratch_;
  sluice::MonoTime now_{sluice::seconds(100)};
  std::string text_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const auto role = (data[0] & 1) != 0 ? Http2Codec::Role::kClient : Http2Codec::Role::kServer;
  const size_t cuts = std::min<size_t>(data[1], size - 2);
  const std::string_view script(reinterpret_cast<const char*>(data) + 2, cuts);
  const std::string_view rest(reinterpret_cast<const char*>(data) + 2 + cuts, size - 2 - cuts);
  // Most inputs should come past the preface.
  const bool preface = role == Http2Codec::Role::kServer && (data[0] & 2) == 0;
  const std::string bytes = (preface ? std::string(Http2Codec::kPreface) : "") + std::string(rest);

  for (const bool act : {false, true}) {
    Owner owner(role, script);
    std::string_view left = bytes;
    for (size_t i = 0; !left.empty(); ++i) {
      const size_t piece = cuts == 0 ? 1 : std::max<size_t>(1, data[2 + i % cuts]);
      owner.Feed(left.substr(0, piece), act);
      left.remove_prefix(std::min(piece, left.size()));
    }
  }
  return 0;
}
