#include "tests/unit/http/codec_transcript.h"

namespace sluice {
namespace {

std::string Describe(const BodyFraming& body) {
  switch (body.kind) {
    case BodyFraming::Kind::kNone:
      return "none";
    case BodyFraming::Kind::kLength:
      return std::to_string(body.length);
    case BodyFraming::Kind::kChunked:
      return "chunked";
    case BodyFraming::Kind::kUntilClose:
      return "until close";
  }
  return "?";
}

std::string_view Name(ErrorSide side) {
  switch (side) {
    case ErrorSide::kClient:
      return "client";
    case ErrorSide::kUpstream:
      return "upstream";
    default:
      return "neither";
  }
}

class Recorder {
 public:
  explicit Recorder(const TranscriptOptions& options)
      : options_(options), decoder_(options.role, options.limits) {
    decoder_.StartMessage(options.request_method);
  }

  // False after an error.
  bool Feed(std::string_view input) {
    while (true) {
      const CodecEvent event = decoder_.Next(input);
      if (event == CodecEvent::kNeedMore) {
        if (!input.empty()) Line("left over " + std::to_string(input.size()));
        return true;
      }
      if (!Record(event)) return false;
    }
  }

  void Eof() {
    const CodecEvent event = decoder_.OnEof();
    if (event != CodecEvent::kNeedMore) Record(event);
  }

  std::string Finish() {
    FlushData();
    if (!failed_ && !decoder_.between_messages()) Line(decoder_.in_head() ? "in head" : "in body");
    return out_;
  }

 private:
  bool Record(CodecEvent event) {
    if (event == CodecEvent::kData) {
      data_ += decoder_.data();
      has_data_ = true;
      return true;
    }
    FlushData();
    switch (event) {
      case CodecEvent::kHead:
        RecordHead();
        return true;
      case CodecEvent::kEnd:
        for (const HeaderField& field : decoder_.trailers()) {
          Line("trailer " + std::string(field.name) + ": " + std::string(field.value));
        }
        Line("end");
        decoder_.StartMessage(options_.request_method);
        return true;
      default: {
        const Error& error = decoder_.error();
        std::string text = "error " + std::string(ReasonName(error.code)) + " ";
        text += Name(error.side);
        if (error.detail.find("expected") != 0) text += " (detail without 'expected')";
        if (options_.with_detail) text += ": " + error.detail;
        Line(text);
        std::string_view more = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        if (decoder_.Next(more) != CodecEvent::kError) Line("accepts more after the error");
        failed_ = true;
        return false;
      }
    }
  }

  void RecordHead() {
    std::string text;
    const HeaderList* fields = nullptr;
    if (options_.role == Http1Decoder::Role::kServer) {
      const RequestHead& head = decoder_.request();
      fields = &head.fields;
      text = std::string(head.method_text) + " ";
      if (!head.scheme.empty()) text += std::string(head.scheme) + " ";
      text += std::string(head.authority) + " " + std::string(head.path);
      if (head.has_query) text += "?" + std::string(head.query);
      text += head.version == HttpVersion::kHttp10 ? " 1.0" : " 1.1";
      text += " body " + Describe(head.body);
      if (!head.keep_alive) text += " close";
      if (head.expect_continue) text += " expect";
    } else {
      const ResponseHead& head = decoder_.response();
      fields = &head.fields;
      text = std::to_string(head.status) + " [" + std::string(head.reason) + "]";
      text += head.version == HttpVersion::kHttp10 ? " 1.0" : " 1.1";
      text += " body " + Describe(head.body);
      if (!head.keep_alive) text += " close";
    }
    Line(text);
    if (!options_.with_fields) return;
    for (const HeaderField& field : *fields) {
      Line("field " + std::string(field.name) + ": " + std::string(field.value));
    }
  }

  void FlushData() {
    if (has_data_) Line("data " + data_);
    data_.clear();
    has_data_ = false;
  }

  void Line(std::string_view text) {
    out_ += text;
    out_ += '\n';
  }

  const TranscriptOptions& options_;
  Http1Decoder decoder_;
  std::string data_;
  std::string out_;
  bool has_data_ = false;
  bool failed_ = false;
};

}  // namespace

std::string Transcript(const TranscriptOptions& options,
                       const std::vector<std::string_view>& pieces) {
  Recorder recorder(options);
  for (const std::string_view piece : pieces) {
    // A heap copy, so that AddressSanitizer sees reads of the input beyond its end or after its
    // life.
    const std::string copy(piece);
    if (!recorder.Feed(copy)) return recorder.Finish();
  }
  if (options.eof) recorder.Eof();
  return recorder.Finish();
}

std::vector<std::string_view> BytesOf(std::string_view text) {
  std::vector<std::string_view> bytes;
  for (size_t i = 0; i < text.size(); ++i) bytes.push_back(text.substr(i, 1));
  return bytes;
}

}  // namespace sluice
