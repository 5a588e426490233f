#include "gateway/http/websocket_frames.h"

#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace sluice {
namespace {

// A frame as a peer would send it.
std::string Frame(uint8_t first, uint64_t length, bool masked = false) {
  std::string frame(1, static_cast<char>(first));
  const auto add = [&frame](uint64_t value, int bytes) {
    for (int i = bytes - 1; i >= 0; --i) frame.push_back(static_cast<char>(value >> (8 * i)));
  };
  const uint8_t mask = masked ? 0x80 : 0;
  if (length < 126) {
    add(mask | length, 1);
  } else if (length < 65536) {
    add(mask | 126U, 1);
    add(length, 2);
  } else {
    add(mask | 127U, 1);
    add(length, 8);
  }
  if (masked) frame += "mask";
  return frame.append(length, '\x88');  // which is no header of a Close here
}

TEST(WebSocketFramesTest, KnowsEveryBoundaryInAnyPieces) {
  std::string bytes;
  std::vector<size_t> ends = {0};
  for (const bool masked : {false, true}) {
    for (const uint64_t length : {0, 1, 125, 126, 127, 300, 65535, 65536, 65537}) {
      bytes += Frame(0x82, length, masked);
      ends.push_back(bytes.size());
    }
  }
  for (const size_t step : {1, 2, 3, 7, 1000, 100000}) {
    WebSocketFrames frames;
    size_t next_end = 0;
    for (size_t at = 0; at <= bytes.size(); at += step) {
      while (ends[next_end] < at) ++next_end;
      ASSERT_EQ(frames.may_add(), ends[next_end] == at) << "at " << at << " by " << step;
      frames.Skip(std::string_view(bytes).substr(at, step));
    }
    EXPECT_TRUE(frames.may_add());
  }
}

TEST(WebSocketFramesTest, NothingFollowsAClose) {
  WebSocketFrames frames;
  frames.Skip(Frame(0x89, 4));  // a ping
  EXPECT_TRUE(frames.may_add());
  frames.Skip(WebSocketFrames::kGoingAway);
  EXPECT_FALSE(frames.may_add());
  frames.Skip(Frame(0x82, 1));
  EXPECT_FALSE(frames.may_add());
}

TEST(WebSocketFramesTest, TakesTheLargestLength) {
  WebSocketFrames frames;
  frames.Skip(std::string_view("\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 10));
  EXPECT_FALSE(frames.may_add());
  frames.Skip(std::string(100000, '\0'));
  EXPECT_FALSE(frames.may_add());
}

}  // namespace
}  // namespace sluice
