#include "gateway/http/headers.h"

#include <algorithm>
#include <cctype>
#include <string>

#include <gtest/gtest.h>

#include "gateway/http/message.h"

namespace sluice {
namespace {

std::string Mapped(std::string_view text, int (*function)(int)) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [function](unsigned char c) { return static_cast<char>(function(c)); });
  return out;
}

TEST(HeadersTest, FindsEveryKnownNameInAnyCase) {
  for (size_t i = 1; i < static_cast<size_t>(HeaderId::kCount); ++i) {
    const auto id = static_cast<HeaderId>(i);
    const std::string_view name = HeaderName(id);
    ASSERT_FALSE(name.empty());
    EXPECT_EQ(FindHeaderId(name), id) << name;
    EXPECT_EQ(FindHeaderId(Mapped(name, std::tolower)), id) << name;
    EXPECT_EQ(FindHeaderId(Mapped(name, std::toupper)), id) << name;
  }
}

TEST(HeadersTest, AnyOtherByteMakesAnotherName) {
  for (size_t i = 1; i < static_cast<size_t>(HeaderId::kCount); ++i) {
    const std::string name(HeaderName(static_cast<HeaderId>(i)));
    for (size_t at = 0; at < name.size(); ++at) {
      std::string changed = name;
      for (int byte = 0; byte < 256; ++byte) {
        changed[at] = static_cast<char>(byte);
        const bool same = std::tolower(byte) == std::tolower(static_cast<unsigned char>(name[at]));
        ASSERT_EQ(FindHeaderId(changed) == static_cast<HeaderId>(i), same)
            << name << " with " << byte << " at " << at;
      }
    }
    EXPECT_EQ(FindHeaderId(name + "x"), HeaderId::kOther);
    EXPECT_NE(FindHeaderId(name.substr(1)), static_cast<HeaderId>(i));
  }
  EXPECT_EQ(FindHeaderId(""), HeaderId::kOther);
  EXPECT_EQ(FindHeaderId("x"), HeaderId::kOther);
  EXPECT_EQ(FindHeaderId("X-Custom"), HeaderId::kOther);
  EXPECT_EQ(HeaderName(HeaderId::kOther), "");
}

TEST(HeadersTest, ListFindsTheFirstAndCountsAll) {
  HeaderList list;
  list.Add("Host", "a");
  list.Add("X-One", "1");
  list.Add("HOST", "b");
  EXPECT_EQ(list.size(), 3);
  EXPECT_EQ(list.Value(HeaderId::kHost), "a");
  EXPECT_EQ(list.Count(HeaderId::kHost), 2);
  EXPECT_EQ(list.Count(HeaderId::kCookie), 0);
  ASSERT_NE(list.Find("x-ONE"), nullptr);
  EXPECT_EQ(list.Find("x-ONE")->value, "1");
  ASSERT_NE(list.Find("host"), nullptr);
  EXPECT_EQ(list.Find("host")->value, "a");
  EXPECT_EQ(list.Find("x-two"), nullptr);
  EXPECT_FALSE(list.Has(HeaderId::kCookie));
  list.Clear();
  EXPECT_TRUE(list.empty());
  EXPECT_FALSE(list.Has(HeaderId::kHost));
}

TEST(MessageTest, FindsEveryMethodByItsExactName) {
  for (size_t i = 1; i < static_cast<size_t>(Method::kCount); ++i) {
    const auto method = static_cast<Method>(i);
    const std::string name(MethodName(method));
    EXPECT_EQ(FindMethod(name), method) << name;
    EXPECT_EQ(FindMethod(Mapped(name, std::tolower)), Method::kOther) << name;
    EXPECT_EQ(FindMethod(name + "X"), Method::kOther) << name;
    EXPECT_EQ(FindMethod(name.substr(0, name.size() - 1)), Method::kOther) << name;
  }
  for (const char* other : {"", "G", "PO", "PROPFIND", "PUX", "COPY", "LINK"}) {
    EXPECT_EQ(FindMethod(other), Method::kOther) << other;
  }
}

}  // namespace
}  // namespace sluice
