#include "gateway/http/http2_budget.h"

namespace sluice {
namespace {

constexpr size_t kKinds = static_cast<size_t>(Http2Flood::kCount);

constexpr std::array<std::string_view, kKinds> kNames = {
    "",         "reset",         "continuation",  "ping",    "settings", "empty_data",
    "priority", "window_update", "unknown_frame", "headers", "stall",    "acknowledge",
};
static_assert(kNames.back() == "acknowledge", "one name for each Http2Flood, in the same order");

}  // namespace

std::string_view Http2FloodName(Http2Flood flood) { return kNames[static_cast<size_t>(flood)]; }

// Far above what well-behaved peers do, and cheap to serve up to there.
Http2FrameMeter::Http2FrameMeter(size_t preface) : from_client_(preface > 0), skip_(preface) {
  Of(Http2Flood::kReset) = {200, 50};
  Of(Http2Flood::kContinuation) = {1000, 200};
  Of(Http2Flood::kPing) = {500, 50};
  Of(Http2Flood::kSettings) = {100, 10};
  Of(Http2Flood::kEmptyData) = {500, 50};
  Of(Http2Flood::kPriority) = {500, 50};
  Of(Http2Flood::kWindowUpdate) = {2000, 500};
  Of(Http2Flood::kUnknownFrame) = {500, 50};
  Of(Http2Flood::kStall) = {100, 10};
}

size_t Http2FrameMeter::length() const {
  return (size_t{header_[0]} << 16) | (size_t{header_[1]} << 8) | header_[2];
}

Http2Flood Http2FrameMeter::Count(std::string_view bytes, MonoTime now) {
  while (true) {
    const size_t skipped = std::min(skip_, bytes.size());
    skip_ -= skipped;
    bytes.remove_prefix(skipped);
    if (bytes.empty()) return Http2Flood::kNone;
    const size_t taken = std::min(kHeaderSize - header_size_, bytes.size());
    std::copy_n(bytes.begin(), taken, header_.begin() + static_cast<ptrdiff_t>(header_size_));
    header_size_ += taken;
    bytes.remove_prefix(taken);
    if (header_size_ < kHeaderSize) return Http2Flood::kNone;
    header_size_ = 0;
    skip_ = length();
    if (const Http2Flood flood = CountFrame(now); flood != Http2Flood::kNone) return flood;
  }
}

// Frame types of RFC 9113 6.
Http2Flood Http2FrameMeter::CountFrame(MonoTime now) {
  constexpr uint8_t kAck = 1;
  constexpr uint8_t kEndHeaders = 4;
  in_head_frame_ = header_[3] == 1 || header_[3] == 9;
  head_open_ = in_head_frame_ && (header_[4] & kEndHeaders) == 0;
  switch (header_[3]) {
    case 0:
      return CountData(now);
    case 1:  // HEADERS; some clients send priorities and windows with each request
      Of(Http2Flood::kPriority).Give(2);
      Of(Http2Flood::kWindowUpdate).Give(2);
      return Http2Flood::kNone;
    case 2:
      return Take(Http2Flood::kPriority, now);
    case 3:
      // A server resets streams that we have opened, with reason when it answers early (RFC 9113
      // 8.1): that costs what we spend ourselves.
      return from_client_ ? Take(Http2Flood::kReset, now) : Http2Flood::kNone;
    case 4:
      return (header_[4] & kAck) != 0 ? Http2Flood::kNone : Take(Http2Flood::kSettings, now);
    case 6:
      return Take(Http2Flood::kPing, now);
    case 8:
      return Take(Http2Flood::kWindowUpdate, now);
    case 9:
      return Take(Http2Flood::kContinuation, now);
    default:  // GOAWAY too: once is enough
      return Take(Http2Flood::kUnknownFrame, now);
  }
}

Http2Flood Http2FrameMeter::CountData(MonoTime now) {
  constexpr uint8_t kEndStream = 1;
  constexpr uint8_t kPadded = 8;
  constexpr size_t kLongestPadding = 256;
  // A short padded frame may hold nothing but padding.
  const bool padding = (header_[4] & kPadded) != 0 && length() <= kLongestPadding;
  if ((length() == 0 || padding) && (header_[4] & kEndStream) == 0) {
    return Take(Http2Flood::kEmptyData, now);
  }
  OnData();
  return Http2Flood::kNone;
}

}  // namespace sluice
