// The chunked coding, byte by byte around the data and without touching the data itself:
//
//   size [ext] CR LF  data CR LF  …  0 [ext] CR LF  trailers CR LF
//   kSize kExtension  kData       …                 kTrailer      kDone
//         kSizeLf     kDataCr kDataLf
#include <algorithm>
#include <limits>
#include <utility>

#include "gateway/base/text.h"
#include "gateway/http/excerpt.h"
#include "gateway/http/http1_codec.h"
#include "gateway/http/hygiene.h"

namespace sluice {
namespace {

constexpr uint64_t kMaxChunk = std::numeric_limits<int64_t>::max();
constexpr uint8_t kMaxSizeDigits = 32;  // leading zeros are valid, endless ones are not

std::string Got(std::string_view expected, char c) {
  std::string detail = "expected ";
  detail += expected;
  detail += ", got ";
  return detail + Excerpt({&c, 1});
}

}  // namespace

void ChunkedDecoder::Reset() {
  state_ = State::kSize;
  digits_ = 0;
  after_space_ = in_quotes_ = escaped_ = false;
  left_ = 0;
  extension_line_ = extensions_ = 0;
  data_ = {};
  if (!trailer_bytes_.empty()) {
    trailer_bytes_.clear();
    trailers_.Clear();
  }
}

void ChunkedDecoder::ReleaseMemory() {
  Reset();
  trailer_bytes_ = std::string();
  trailers_ = HeaderList();
}

CodecEvent ChunkedDecoder::Fail(ErrorCode code, std::string detail) {
  state_ = State::kFailed;
  error_ = ClientError(code, std::move(detail));
  return CodecEvent::kError;
}

CodecEvent ChunkedDecoder::Next(std::string_view& input, const CodecLimits& limits) {
  while (true) {
    switch (state_) {
      case State::kDone:
        return CodecEvent::kNeedMore;
      case State::kFailed:
        return CodecEvent::kError;
      case State::kTrailer:
        return ReadTrailers(input, limits);
      case State::kData:
        return TakeData(input);
      default:
        break;
    }
    if (input.empty()) return CodecEvent::kNeedMore;
    const char c = input.front();
    input.remove_prefix(1);
    if (OnFramingByte(c, limits) == CodecEvent::kError) return CodecEvent::kError;
  }
}

CodecEvent ChunkedDecoder::TakeData(std::string_view& input) {
  if (input.empty()) return CodecEvent::kNeedMore;
  data_ = input.substr(0, std::min<uint64_t>(left_, input.size()));
  input.remove_prefix(data_.size());
  left_ -= data_.size();
  if (left_ == 0) state_ = State::kDataCr;
  return CodecEvent::kData;
}

CodecEvent ChunkedDecoder::OnFramingByte(char c, const CodecLimits& limits) {
  switch (state_) {
    case State::kSize:
      return OnSizeByte(c);
    case State::kExtension:
      return OnExtensionByte(c, limits);
    case State::kSizeLf:
      if (c != '\n') return Fail(ErrorCode::kBadFraming, Got("LF after the chunk size", c));
      state_ = left_ == 0 ? State::kTrailer : State::kData;
      return CodecEvent::kNeedMore;
    case State::kDataCr:
      if (c != '\r') return Fail(ErrorCode::kBadFraming, Got("CR LF after the chunk data", c));
      state_ = State::kDataLf;
      return CodecEvent::kNeedMore;
    default:  // kDataLf
      if (c != '\n') return Fail(ErrorCode::kBadFraming, Got("LF after the chunk data", c));
      state_ = State::kSize;
      digits_ = 0;
      return CodecEvent::kNeedMore;
  }
}

CodecEvent ChunkedDecoder::OnSizeByte(char c) {
  const int digit = HexValue(c);
  if (digit >= 0) {
    if (left_ > (kMaxChunk >> 4) || digits_ == kMaxSizeDigits) {
      return Fail(ErrorCode::kBadFraming, "expected a chunk size below 2^63, got a larger one");
    }
    left_ = (left_ << 4) | static_cast<uint64_t>(digit);
    ++digits_;
    return CodecEvent::kNeedMore;
  }
  if (digits_ == 0) return Fail(ErrorCode::kBadFraming, Got("a chunk size in hex digits", c));
  if (c == '\r') {
    state_ = State::kSizeLf;
    return CodecEvent::kNeedMore;
  }
  if (c != ';' && c != ' ' && c != '\t') {
    return Fail(ErrorCode::kBadFraming, Got("CR LF or ';' after the chunk size", c));
  }
  state_ = State::kExtension;
  after_space_ = c != ';';
  in_quotes_ = escaped_ = false;
  extension_line_ = 1;
  ++extensions_;
  return CodecEvent::kNeedMore;
}

// RFC 9112 7.1.1: unknown extensions are ignored, and all are unknown here. They must not hide a
// line end, nor cost more than the limits.
CodecEvent ChunkedDecoder::OnExtensionByte(char c, const CodecLimits& limits) {
  ++extension_line_;
  ++extensions_;
  if (extension_line_ > limits.chunk_extension_line || extensions_ > limits.chunk_extensions) {
    return Fail(ErrorCode::kBadFraming, "expected short chunk extensions, got more than " +
                                            std::to_string(limits.chunk_extension_line) +
                                            " bytes in a line or " +
                                            std::to_string(limits.chunk_extensions) + " in a body");
  }
  if (after_space_) {
    if (c == ' ' || c == '\t') return CodecEvent::kNeedMore;
    if (c != ';') return Fail(ErrorCode::kBadFraming, Got("';' after the chunk size", c));
    after_space_ = false;
    return CodecEvent::kNeedMore;
  }
  if (in_quotes_) {
    if (!IsFieldValue({&c, 1})) {
      return Fail(ErrorCode::kBadFraming, Got("the end of a quoted chunk extension", c));
    }
    in_quotes_ = escaped_ || c != '"';
    escaped_ = !escaped_ && c == '\\';
    return CodecEvent::kNeedMore;
  }
  if (c == '\r') {
    state_ = State::kSizeLf;
    return CodecEvent::kNeedMore;
  }
  in_quotes_ = c == '"';
  if (!in_quotes_ && c != ';' && c != '=' && c != ' ' && c != '\t' && !IsToken({&c, 1})) {
    return Fail(ErrorCode::kBadFraming, Got("a chunk extension or CR LF", c));
  }
  return CodecEvent::kNeedMore;
}

CodecEvent ChunkedDecoder::ReadTrailers(std::string_view& input, const CodecLimits& limits) {
  constexpr std::string_view kEnd = "\r\n";
  if (trailer_bytes_.empty() && input.substr(0, 2) == kEnd) {  // none, as nearly always
    input.remove_prefix(2);
    state_ = State::kDone;
    return CodecEvent::kEnd;
  }
  while (!input.empty()) {
    const size_t newline = input.find('\n');
    const bool whole_line = newline != input.npos;
    const std::string_view piece = input.substr(0, whole_line ? newline + 1 : newline);
    if (piece.size() > limits.trailers - trailer_bytes_.size()) {
      return Fail(ErrorCode::kHeadersTooLarge, "expected at most " +
                                                   std::to_string(limits.trailers) +
                                                   " bytes of trailer fields, got more");
    }
    trailer_bytes_ += piece;
    input.remove_prefix(piece.size());
    const std::string_view all = trailer_bytes_;
    if (whole_line && !all.ends_with("\r\n")) {
      return Fail(ErrorCode::kMalformedRequest, "expected CR LF after a trailer, got LF alone");
    }
    if (all == kEnd || all.ends_with("\n\r\n")) return ParseTrailers();
  }
  return CodecEvent::kNeedMore;
}

CodecEvent ChunkedDecoder::ParseTrailers() {
  std::string_view rest = trailer_bytes_;
  rest.remove_suffix(2);
  while (!rest.empty()) {
    const size_t newline = rest.find('\n');
    const std::string_view line = rest.substr(0, newline);
    rest.remove_prefix(newline + 1);
    const size_t colon = line.find(':');
    const std::string_view name = line.substr(0, colon);
    if (!line.ends_with('\r') || colon == line.npos || !IsToken(name)) {
      return Fail(ErrorCode::kMalformedRequest,
                  "expected a trailer line 'name: value' CR LF, got " + Excerpt(line));
    }
    const std::string_view value = TrimOws(line.substr(colon + 1, line.size() - colon - 2));
    if (!IsFieldValue(value)) {
      return Fail(ErrorCode::kMalformedRequest,
                  "expected a trailer value without control characters, got " + Excerpt(value));
    }
    trailers_.Add(name, value);
  }
  state_ = State::kDone;
  return CodecEvent::kEnd;
}

}  // namespace sluice
