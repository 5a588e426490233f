// The decoder in both roles: the same bytes whole and cut in pieces must give the same events.
// Input: one byte of options, one byte N, N bytes of piece sizes (used in turn), then the
// connection's bytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "gateway/http/http1_codec.h"
#include "gateway/http/hygiene.h"

namespace {

using sluice::BodyFraming;
using sluice::CodecEvent;
using sluice::HeaderField;
using sluice::HeaderList;
using sluice::Http1Decoder;

// Small, so that the fuzzer reaches them.
constexpr sluice::CodecLimits kLimits{.request_line = 200,
                                      .head = 400,
                                      .fields = 8,
                                      .chunk_extension_line = 20,
                                      .chunk_extensions = 50,
                                      .trailers = 60,
                                      .informational = 2};

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken property: %s\n", what);
  std::abort();
}

struct Options {
  Http1Decoder::Role role;
  sluice::Method method;
  bool eof;
  bool release;
};

class Recorder {
 public:
  explicit Recorder(const Options& options) : options_(options), decoder_(options.role, kLimits) {
    decoder_.StartMessage(options.method);
  }

  bool Feed(std::string_view piece) {
    const std::string copy(piece);  // on the heap: a read past its end is found
    std::string_view input = copy;
    while (true) {
      const CodecEvent event = decoder_.Next(input);
      if (event == CodecEvent::kNeedMore) {
        Require(input.empty(), "kNeedMore means that all was consumed");
        return true;
      }
      if (!Record(event)) return false;
    }
  }

  void Eof() {
    const CodecEvent event = decoder_.OnEof();
    if (event != CodecEvent::kNeedMore) Record(event);
  }

  const std::string& text() const { return text_; }

 private:
  bool Record(CodecEvent event) {
    switch (event) {
      case CodecEvent::kHead:
        text_ += options_.role == Http1Decoder::Role::kServer ? Request() : Response();
        return true;
      case CodecEvent::kData:
        Require(!decoder_.data().empty(), "kData carries bytes");
        text_ += decoder_.data();
        return true;
      case CodecEvent::kEnd:
        AddFields(decoder_.trailers());
        text_ += "END\n";
        decoder_.StartMessage(options_.method);
        if (options_.release) decoder_.ReleaseMemory();
        return true;
      default:
        Require(event == CodecEvent::kError, "no other event");
        text_.append("ERROR ").append(sluice::ReasonName(decoder_.error().code));
        return false;
    }
  }

  std::string Request() {
    const sluice::RequestHead& head = decoder_.request();
    Require(sluice::IsToken(head.method_text), "a method is a token");
    Require(head.authority.empty() || sluice::IsValidAuthority(head.authority), "valid authority");
    AddFields(head.fields);
    return std::string(head.method_text) + " " + std::string(head.authority) + " " +
           std::string(head.path) + "?" + std::string(head.query) + Framing(head.body);
  }

  std::string Response() {
    const sluice::ResponseHead& head = decoder_.response();
    Require(head.status >= 100 && head.status <= 599, "status in range");
    AddFields(head.fields);
    return std::to_string(head.status) + " " + std::string(head.reason) + Framing(head.body);
  }

  static std::string Framing(const BodyFraming& body) {
    return " " + std::to_string(static_cast<int>(body.kind)) + " " + std::to_string(body.length) +
           "\n";
  }

  void AddFields(const HeaderList& fields) {
    for (const HeaderField& field : fields) {
      Require(sluice::IsToken(field.name), "a field name is a token");
      Require(sluice::IsFieldValue(field.value), "a field value has no controls");
      text_.append(field.name).append(": ").append(field.value).append("\n");
    }
  }

  const Options& options_;
  Http1Decoder decoder_;
  std::string text_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const Options options{
      .role = (data[0] & 1) != 0 ? Http1Decoder::Role::kClient : Http1Decoder::Role::kServer,
      .method = (data[0] & 2) != 0 ? sluice::Method::kHead : sluice::Method::kGet,
      .eof = (data[0] & 4) != 0,
      .release = (data[0] & 8) != 0};
  const size_t cuts = std::min<size_t>(data[1], size - 2);
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2 + cuts, size - 2 - cuts);

  Recorder whole(options);
  if (whole.Feed(bytes) && options.eof) whole.Eof();

  Recorder pieces(options);
  bool alive = true;
  std::string_view rest = bytes;
  for (size_t i = 0; alive && !rest.empty(); ++i) {
    const size_t piece = cuts == 0 ? 1 : std::max<size_t>(1, data[2 + i % cuts]);
    alive = pieces.Feed(rest.substr(0, piece));
    rest.remove_prefix(std::min(piece, rest.size()));
  }
  if (alive && options.eof) pieces.Eof();

  Require(whole.text() == pieces.text(), "events do not depend on how the bytes are cut");
  return 0;
}
