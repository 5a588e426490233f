#include "gateway/base/base64.h"

#include <string>

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Base64Test, FollowsTheVectorsOfRfc4648) {
  const std::pair<std::string, std::string> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"},
                                                         {std::string("\xfb\xff\x00", 3), "+/8A"}};
  for (const auto& [bytes, text] : vectors) {
    EXPECT_EQ(EncodeBase64(bytes, Base64::kStandard), text);
    EXPECT_EQ(DecodeBase64(text, Base64::kStandard), bytes) << text;
  }
  EXPECT_EQ(EncodeBase64("\xfb\xff", Base64::kUrl), "-_8");
  EXPECT_EQ(DecodeBase64("-_8", Base64::kUrl), "\xfb\xff");
}

TEST(Base64Test, EveryLengthComesBack) {
  std::string bytes;
  for (int i = 0; i < 300; ++i) {
    for (const Base64 form : {Base64::kStandard, Base64::kUrl}) {
      EXPECT_EQ(DecodeBase64(EncodeBase64(bytes, form), form), bytes);
    }
    bytes += static_cast<char>(i * 7);
  }
}

TEST(Base64Test, TheUrlFormIsTakenInOneSpellingOnly) {
  for (const char* text : {"Zg==", "Zm8=", "Zh", "Zm9", "Z", "Zm9vY", "+w", "/w", "Zm 9v", "Zm9v\n",
                           "Zm.v", "\xff\xff\xff\xff"}) {
    EXPECT_EQ(DecodeBase64(text, Base64::kUrl), std::nullopt) << text;
  }
  EXPECT_EQ(DecodeBase64(std::string("Zm9\0", 4), Base64::kUrl), std::nullopt);
}

TEST(Base64Test, TheStandardFormIsTakenInOneSpellingOnly) {
  for (const char* text : {"Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "====", "=",
                           "Z===", "Zm9v====", "-_8A", "Zg==Zg==", "Zm9v ", "Zm\n9v"}) {
    EXPECT_EQ(DecodeBase64(text, Base64::kStandard), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace sluice
