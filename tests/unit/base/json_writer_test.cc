#include "gateway/base/json_writer.h"

#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include <gtest/gtest.h>

namespace sluice {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

std::string Quoted(std::string_view text) {
  std::string out;
  JsonWriter(out).String(text);
  return out;
}

TEST(JsonWriterTest, PutsCommasWhereTheyBelong) {
  std::string out;
  JsonWriter json(out);
  json.BeginObject().Member("a", 1).Member("b", "x").Key("c").BeginArray();
  json.Integer(1).BeginObject().EndObject().BeginArray().EndArray().Null().EndArray();
  json.Member("d", true).Key("e").Raw("{}").EndObject();
  EXPECT_EQ(out, R"({"a":1,"b":"x","c":[1,{},[],null],"d":true,"e":{}})");
}

TEST(JsonWriterTest, WritesEveryKindOfNumber) {
  std::string out;
  JsonWriter json(out);
  json.BeginArray().Integer(std::numeric_limits<int64_t>::min());
  json.Unsigned(std::numeric_limits<uint64_t>::max()).Number(0.1).Number(1e300).Number(-2);
  json.Number(std::nan("")).Number(INFINITY).Bool(false).EndArray();
  EXPECT_EQ(out, "[-9223372036854775808,18446744073709551615,0.1,1e+300,-2,null,null,false]");
}

TEST(JsonWriterTest, EscapesInKeysAndValues) {
  EXPECT_EQ(Quoted("a\"b\\c/d"), R"("a\"b\\c/d")");
  EXPECT_EQ(Quoted("\n\r\t\b\f"), R"("\n\r\t\u0008\u000c")");
  EXPECT_EQ(Quoted(std::string_view("\0\x1f\x7f", 3)), R"("\u0000\u001f\u007f")");
  std::string out;
  JsonWriter(out).BeginObject().Member("\"", "\"").EndObject();
  EXPECT_EQ(out, R"({"\"":"\""})");
}

TEST(JsonWriterTest, KeepsValidUtf8) {
  for (const std::string_view text :
       {"\xc2\x80", "\xc3\xa4", "\xdf\xbf", "\xe0\xa0\x80", "\xe2\x82\xac", "\xed\x9f\xbf",
        "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(Quoted(text), "\"" + std::string(text) + "\"");
  }
}

// Unicode 3.9, table 3-7: everything else is ill-formed.
TEST(JsonWriterTest, ReplacesInvalidUtf8) {
  const std::string one(kReplacement);
  const std::pair<std::string_view, std::string> kCases[] = {
      {"\x80", one},                                // continuation alone
      {"\xff", one},                                // never a byte of UTF-8
      {"\xc3", one},                                // cut
      {"\xc3(", one + "("},                         // not a continuation
      {"\xc0\xaf", one + one},                      // "/" in two bytes
      {"\xc1\xbf", one + one},                      // overlong
      {"\xe0\x80\xaf", one + one + one},            // "/" in three
      {"\xe2\x82", one + one},                      // cut
      {"\xed\xa0\x80", one + one + one},            // a surrogate
      {"\xf0\x80\x80\xaf", one + one + one + one},  // "/" in four
      {"\xf4\x90\x80\x80", one + one + one + one},  // above U+10FFFF
      {"\xf5\x80\x80\x80", one + one + one + one},
      {"\xf0\x9f\x98", one + one + one},  // cut
      {"a\xffz", "a" + one + "z"},
  };
  for (const auto& [text, expected] : kCases) EXPECT_EQ(Quoted(text), "\"" + expected + "\"");
}

TEST(JsonWriterTest, EveryByteAloneIsValid) {
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const std::string quoted = Quoted({&c, 1});
    const std::string_view inside = std::string_view(quoted).substr(1, quoted.size() - 2);
    const bool plain = inside.size() == 1 && byte >= 0x20 && byte < 0x7f && c != '"' && c != '\\';
    EXPECT_TRUE(plain || inside.front() == '\\' || inside == kReplacement) << byte;
  }
}

}  // namespace
}  // namespace sluice
