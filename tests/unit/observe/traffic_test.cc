#include "gateway/observe/traffic.h"

#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/observe/metrics_text.h"

namespace sluice {
namespace {

using testing::HasSubstr;

TEST(LatencyClassTest, BoundsBelongToTheClassBelow) {
  EXPECT_EQ(LatencyClass(Duration(0)), 0u);
  for (size_t i = 0; i < kLatencyBounds.size(); ++i) {
    EXPECT_EQ(LatencyClass(kLatencyBounds[i]), i);
    EXPECT_EQ(LatencyClass(kLatencyBounds[i] + Duration(1)), i + 1);
    EXPECT_EQ(LatencyClass(kLatencyBounds[i] - Duration(1)), i);
  }
  EXPECT_EQ(LatencyClass(hours(1)), kLatencyClasses - 1);
}

TEST(StatusSlotTest, EachKnownStatusHasItsOwnAndTheOthersTheirHundred) {
  EXPECT_EQ(StatusSlotName(StatusSlot(200)), "200");
  EXPECT_EQ(StatusSlotName(StatusSlot(499)), "499");
  EXPECT_EQ(StatusSlotName(StatusSlot(299)), "2xx");
  EXPECT_EQ(StatusSlotName(StatusSlot(599)), "5xx");
  EXPECT_EQ(StatusSlotName(StatusSlot(0)), "none");
  EXPECT_EQ(StatusSlotName(StatusSlot(600)), "none");
  EXPECT_EQ(StatusSlotName(StatusSlot(-1)), "none");
  std::set<std::string_view> names;
  for (size_t slot = 0; slot < kStatusSlots; ++slot) names.insert(StatusSlotName(slot));
  EXPECT_EQ(names.size(), kStatusSlots);
}

TEST(MetricsTextTest, WritesTheFormatOfPrometheus) {
  MetricsText text;
  text.Begin("a_total", "Help.", MetricsText::Type::kCounter);
  text.Add({{"route", "x\"\\\n"}}, uint64_t{3});
  text.Begin("empty", "Nothing yet.", MetricsText::Type::kGauge);
  LatencyHistogram<uint64_t> histogram;
  histogram.classes[LatencyClass(milliseconds(3))] = 2;
  histogram.classes[LatencyClass(microseconds(15))] = 1;
  histogram.classes[kLatencyClasses - 1] = 1;
  histogram.nanoseconds = 6'015'000;
  text.Begin("h", "Latency.", MetricsText::Type::kHistogram);
  text.Add({}, histogram, milliseconds(1), milliseconds(1));
  const std::string page = text.Take();
  EXPECT_THAT(page, HasSubstr("# HELP a_total Help.\n# TYPE a_total counter\n"));
  EXPECT_THAT(page, HasSubstr(R"(a_total{route="x\"\\\n"} 3)"));
  EXPECT_THAT(page, HasSubstr("# TYPE empty gauge\n"));
  EXPECT_THAT(page, HasSubstr("h_count 4\nh_sum 6.015\nh_bucket{le=\"1\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("h_bucket{le=\"2\"} 1\nh_bucket{le=\"5\"} 3\n"));
  EXPECT_THAT(page, HasSubstr("h_bucket{le=\"60000\"} 3\nh_bucket{le=\"+Inf\"} 4\n"));
}

}  // namespace
}  // namespace sluice
