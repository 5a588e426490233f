#include "gateway/net/ticket_keys.h"

#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(TicketKeysTest, OpensWithThePreviousKeyForOneIntervalMore) {
  auto keys = std::move(*TicketKeys::Make());
  const TicketKey first = keys->Current();
  EXPECT_TRUE(keys->Find(first.name).has_value());
  ASSERT_TRUE(keys->Rotate().has_value());
  EXPECT_NE(keys->Current().name, first.name);
  EXPECT_EQ(keys->Find(first.name)->cipher_key, first.cipher_key);
  ASSERT_TRUE(keys->Rotate().has_value());
  EXPECT_FALSE(keys->Find(first.name).has_value());
}

TEST(TicketKeysTest, NeverUsesAKeyTwice) {
  auto keys = std::move(*TicketKeys::Make());
  std::vector<TicketKey> seen;
  for (int i = 0; i < 9; ++i) {
    const TicketKey key = keys->Current();
    for (const TicketKey& other : seen) {
      EXPECT_NE(other.name, key.name);
      EXPECT_NE(other.cipher_key, key.cipher_key);
      EXPECT_NE(other.mac_key, key.mac_key);
    }
    seen.push_back(key);
    ASSERT_TRUE(keys->Rotate().has_value());
  }
}

TEST(TicketKeysTest, ShowsEveryReaderTheSameKeys) {
  auto keys = std::move(*TicketKeys::Make());
  const auto reader = std::move(*TicketKeys::Map(keys->memory()));
  EXPECT_EQ(reader->Current().mac_key, keys->Current().mac_key);
  ASSERT_TRUE(keys->Rotate().has_value());
  EXPECT_EQ(reader->Current().mac_key, keys->Current().mac_key);
}

TEST(TicketKeysTest, RefusesMemoryOfAnotherKind) {
  EXPECT_FALSE(TicketKeys::Map(UniqueFd(open("/dev/null", O_RDONLY))).has_value());
}

}  // namespace
}  // namespace sluice
