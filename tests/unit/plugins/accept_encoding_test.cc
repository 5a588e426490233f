#include "plugins/support/accept_encoding.h"

#include <gtest/gtest.h>

namespace sluice::plugins {
namespace {

bool Prefers(std::string_view value) {
  HeaderList fields;
  fields.Add("Accept-Encoding", value);
  return PrefersGzip(fields);
}

TEST(AcceptEncodingTest, WithoutTheFieldNothingIsKnown) { EXPECT_FALSE(PrefersGzip({})); }

TEST(AcceptEncodingTest, GzipByNameOrByAsterisk) {
  for (const char* yes :
       {"gzip", "GZip", "x-gzip", "br, gzip", "gzip,deflate", "*", " gzip ; q=0.001 ",
        "gzip;Q=1.000", "identity;q=0.5, gzip", "identity, gzip", "identity;q=0, *", ",,gzip,"}) {
    EXPECT_TRUE(Prefers(yes)) << yes;
  }
}

TEST(AcceptEncodingTest, NotByZeroNorByOtherNames) {
  for (const char* no :
       {"", "br", "gzipped", "gzip;q=0", "gzip;q=0.000", "*;q=0", "*, gzip;q=0", "gzip;q=0, *;q=1",
        "identity", "identity;q=1, gzip;q=0.5", "identity, *;q=0.1"}) {
    EXPECT_FALSE(Prefers(no)) << no;
  }
}

TEST(AcceptEncodingTest, AMalformedWeightIsZero) {
  for (const char* no :
       {"gzip;q", "gzip;q=", "gzip;q=2", "gzip;q=1.001", "gzip;q=0.0001", "gzip;q=.5", "gzip;q=-1",
        "gzip;q=0,5", "gzip;q=1e0", "gzip;level=1", "gzip;q=0x1", "gzip;q=1 0"}) {
    EXPECT_FALSE(Prefers(no)) << no;
  }
}

TEST(AcceptEncodingTest, SeveralFieldsAreOneList) {
  HeaderList fields;
  fields.Add("Accept-Encoding", "br");
  fields.Add("accept-encoding", "gzip");
  EXPECT_TRUE(PrefersGzip(fields));
}

}  // namespace
}  // namespace sluice::plugins
