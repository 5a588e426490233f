// Buffer, Arena and IntrusiveList: what holds bytes and elements.
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/base/arena.h"
#include "gateway/base/buffer.h"
#include "gateway/base/intrusive_list.h"

namespace sluice {
namespace {

using testing::ElementsAre;

TEST(BufferTest, IsAQueueOfBytes) {
  Buffer buffer;
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.view(), "");
  buffer.Append("hello ");
  buffer.Append("");
  buffer.Append("world");
  EXPECT_EQ(buffer.view(), "hello world");
  buffer.Consume(6);
  EXPECT_EQ(buffer.view(), "world");
  buffer.Consume(5);
  EXPECT_TRUE(buffer.empty());
  buffer.Append("again");
  EXPECT_EQ(buffer.view(), "again");
}

TEST(BufferTest, ClearForgets) {
  Buffer buffer;
  buffer.Append("abc");
  buffer.Clear();
  EXPECT_EQ(buffer.size(), 0U);
  EXPECT_EQ(buffer.view(), "");
}

TEST(BufferTest, KeepsOrderThroughRandomUse) {
  std::mt19937 random(1);
  Buffer buffer;
  std::string model;
  for (int step = 0; step < 5000; ++step) {
    if (random() % 2 == 0) {
      const std::string piece(random() % 700, static_cast<char>('a' + step % 26));
      buffer.Append(piece);
      model += piece;
    } else {
      const size_t count = model.empty() ? 0 : random() % (model.size() + 1);
      buffer.Consume(count);
      model.erase(0, count);
    }
    ASSERT_EQ(buffer.view(), model) << "step " << step;
  }
}

TEST(ArenaTest, CopiesStayWhereTheyAre) {
  Arena arena(64);
  std::vector<std::pair<std::string_view, std::string>> copies;
  for (int i = 0; i < 200; ++i) {
    const std::string text(static_cast<size_t>(i), static_cast<char>('a' + i % 26));
    copies.emplace_back(arena.Copy(text), text);
  }
  for (const auto& [copy, text] : copies) EXPECT_EQ(copy, text);
}

TEST(ArenaTest, ResetReusesTheFirstBlock) {
  Arena arena(64);
  const char* first = arena.Allocate(10);
  arena.Allocate(1000);
  arena.Reset();
  EXPECT_EQ(arena.Allocate(64), first);
}

TEST(ArenaTest, ResetAfterALargeFirstAllocationKeepsTheNominalBlock) {
  Arena arena(64);
  arena.Allocate(1000);
  arena.Reset();
  char* bytes = arena.Allocate(64);
  std::memset(bytes, 1, 64);  // the sanitizer sees it when the block is smaller
  EXPECT_NE(arena.Allocate(1), bytes + 64);
}

TEST(ArenaTest, NothingIsFree) {
  Arena arena(64);
  arena.Reset();
  EXPECT_TRUE(arena.Copy("").empty());
}

struct Element : ListNode<Element> {
  explicit Element(int value) : number(value) {}
  int number;
};

std::vector<int> Numbers(IntrusiveList<Element>& list) {
  std::vector<int> out;
  for (Element* element = list.front(); element != nullptr; element = list.Next(*element)) {
    out.push_back(element->number);
  }
  return out;
}

TEST(IntrusiveListTest, KeepsOrder) {
  Element a(1);
  Element b(2);
  Element c(3);
  IntrusiveList<Element> list;
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list.front(), nullptr);
  EXPECT_EQ(list.PopFront(), nullptr);
  list.PushBack(b);
  list.PushBack(c);
  list.PushFront(a);
  EXPECT_THAT(Numbers(list), ElementsAre(1, 2, 3));
  EXPECT_EQ(list.back(), &c);
  EXPECT_EQ(list.PopFront(), &a);
  EXPECT_FALSE(a.is_linked());
  EXPECT_THAT(Numbers(list), ElementsAre(2, 3));
}

TEST(IntrusiveListTest, PushingAgainMoves) {
  Element a(1);
  Element b(2);
  IntrusiveList<Element> list;
  IntrusiveList<Element> other;
  list.PushBack(a);
  list.PushBack(b);
  list.PushBack(a);
  EXPECT_THAT(Numbers(list), ElementsAre(2, 1));
  other.PushBack(b);
  EXPECT_THAT(Numbers(list), ElementsAre(1));
  EXPECT_THAT(Numbers(other), ElementsAre(2));
}

TEST(IntrusiveListTest, ElementLeavesWhenItDies) {
  Element a(1);
  Element c(3);
  IntrusiveList<Element> list;
  list.PushBack(a);
  {
    Element b(2);
    list.PushBack(b);
    list.PushBack(c);
  }
  EXPECT_THAT(Numbers(list), ElementsAre(1, 3));
  c.Unlink();
  c.Unlink();
  EXPECT_THAT(Numbers(list), ElementsAre(1));
}

TEST(IntrusiveListTest, ListMayDieFirst) {
  Element a(1);
  {
    IntrusiveList<Element> list;
    list.PushBack(a);
  }
  EXPECT_FALSE(a.is_linked());
}

TEST(IntrusiveListTest, OneTagIsOneList) {
  struct First;
  struct Second;
  struct Both : ListNode<First>, ListNode<Second> {};
  Both both;
  IntrusiveList<Both, First> first;
  IntrusiveList<Both, Second> second;
  first.PushBack(both);
  second.PushBack(both);
  EXPECT_EQ(first.PopFront(), &both);
  EXPECT_EQ(second.front(), &both);
}

}  // namespace
}  // namespace sluice
