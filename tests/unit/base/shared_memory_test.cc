#include "gateway/base/shared_memory.h"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

namespace sluice {
namespace {

TEST(SharedMemoryTest, IsZeroAndSeenByAllWhoMapIt) {
  auto made = SharedMemory::Make("test", 10'000);
  ASSERT_TRUE(made.has_value());
  ASSERT_EQ(made->bytes().size(), 10'000U);
  for (const std::byte byte : made->bytes()) ASSERT_EQ(byte, std::byte{0});
  auto mapped = SharedMemory::Map(made->fd(), "test", 10'000);
  ASSERT_TRUE(mapped.has_value());
  EXPECT_FALSE(mapped->fd());
  made->data()[9'999] = std::byte{7};
  EXPECT_EQ(mapped->data()[9'999], std::byte{7});
  const SharedMemory moved = std::move(*mapped);
  EXPECT_EQ(moved.data()[9'999], std::byte{7});
}

TEST(SharedMemoryTest, TheSizeIsFixedForGood) {
  const auto made = SharedMemory::Make("test", 8'192);
  ASSERT_TRUE(made.has_value());
  EXPECT_NE(ftruncate(made->fd().get(), 0), 0);
  EXPECT_NE(ftruncate(made->fd().get(), 16'384), 0);
  const auto other = SharedMemory::Map(made->fd(), "table of x", 4'096);
  ASSERT_FALSE(other.has_value());
  EXPECT_EQ(other.error().detail, "table of x: expected memory of 4096 bytes, got 8192");
}

TEST(SharedMemoryTest, WhatCannotBeMadeOrMappedIsAnError) {
  EXPECT_FALSE(SharedMemory::Make("test", 0).has_value());
  EXPECT_FALSE(SharedMemory::Map(UniqueFd(), "test", 1).has_value());
}

}  // namespace
}  // namespace sluice
