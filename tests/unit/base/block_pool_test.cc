#include "gateway/base/block_pool.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace sluice {
namespace {

class BlockPoolTest : public testing::Test {
 protected:
  BlockPool pool_;
};

TEST_F(BlockPoolTest, BlocksOfAllSizesAreWholeAndApart) {
  std::vector<std::pair<void*, size_t>> blocks;
  for (size_t size = 0; size <= 5000; size += 37) {
    void* bytes = pool_.Allocate(size);
    ASSERT_NE(bytes, nullptr);
    ASSERT_EQ(reinterpret_cast<uintptr_t>(bytes) % alignof(std::max_align_t), 0U);
    std::memset(bytes, static_cast<int>(size % 251), size);
    blocks.emplace_back(bytes, size);
  }
  for (const auto& [bytes, size] : blocks) {
    for (size_t i = 0; i < size; ++i) {
      ASSERT_EQ(static_cast<uint8_t*>(bytes)[i], size % 251) << "byte " << i << " of " << size;
    }
    pool_.Free(bytes);
  }
}

TEST_F(BlockPoolTest, ASmallBlockIsUsedAgainForItsSize) {
  void* small = pool_.Allocate(100);
  void* large = pool_.Allocate(900);
  pool_.Free(small);
  pool_.Free(large);
  EXPECT_EQ(pool_.Allocate(90), small);
  EXPECT_EQ(pool_.Allocate(800), large);
  pool_.Free(small);
  pool_.Free(large);
}

TEST_F(BlockPoolTest, KeepsABoundedNumberOfFreeBlocks) {
  std::vector<void*> blocks;
  for (int i = 0; i < 10'000; ++i) blocks.push_back(pool_.Allocate(200));
  for (void* bytes : blocks) pool_.Free(bytes);
  const std::set<void*> freed(blocks.begin(), blocks.end());
  // The sanitizer's allocator does not hand out again at once what was really freed.
  size_t again = 0;
  for (void*& bytes : blocks) {
    bytes = pool_.Allocate(200);
    if (freed.contains(bytes)) ++again;
  }
#if defined(__SANITIZE_ADDRESS__)
  EXPECT_EQ(again, 512U);
#else
  EXPECT_GE(again, 512U);
#endif
  for (void* bytes : blocks) pool_.Free(bytes);
}

TEST_F(BlockPoolTest, ResizingKeepsWhatIsThere) {
  auto* bytes = static_cast<char*>(pool_.Resize(nullptr, 10));
  std::memcpy(bytes, "0123456789", 10);
  for (const size_t size : {40, 47, 48, 49, 500, 1008, 1009, 4000, 100'000}) {
    bytes = static_cast<char*>(pool_.Resize(bytes, size));
    ASSERT_EQ(std::string_view(bytes, 10), "0123456789") << size;
    std::memset(bytes + 10, 'x', size - 10);
  }
  pool_.Free(bytes);
}

TEST_F(BlockPoolTest, ClearedMemoryIsZeroAlsoWhenItWasUsed) {
  void* used = pool_.Allocate(300);
  std::memset(used, 0xff, 300);
  pool_.Free(used);
  auto* bytes = static_cast<uint8_t*>(pool_.AllocateZero(3, 100));
  for (size_t i = 0; i < 300; ++i) ASSERT_EQ(bytes[i], 0);
  pool_.Free(bytes);
}

TEST_F(BlockPoolTest, ImpossibleSizesAreRefused) {
  EXPECT_EQ(pool_.Allocate(SIZE_MAX), nullptr);
  EXPECT_EQ(pool_.Allocate(SIZE_MAX - 8), nullptr);
  EXPECT_EQ(pool_.AllocateZero(SIZE_MAX / 2, 3), nullptr);
  pool_.Free(nullptr);
}

}  // namespace
}  // namespace sluice
