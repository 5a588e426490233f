#include "gateway/observe/metric_slabs.h"

#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/observe/series_labels.h"
#include "gateway/observe/series_row.h"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::Pair;
using testing::UnorderedElementsAre;

class MetricSlabsTest : public testing::Test {
 protected:
  static constexpr uint32_t kRoles = 3;

  std::shared_ptr<MetricSlabs> Role(uint32_t column) {
    auto mapped = MetricSlabs::Map(master_->memory(), kRoles, column);
    EXPECT_TRUE(mapped.has_value());
    return *mapped;
  }

  static std::vector<uint32_t> Acquire(MetricSlabs& slabs, const std::vector<std::string>& routes,
                                       uint32_t soft_limit = 100) {
    std::vector<SeriesTable::Wanted> wanted;
    for (const std::string& route : routes) {
      wanted.push_back({.labels = TrafficLabels{.route = route}.Pack()});
    }
    return slabs.traffic().Acquire(wanted, soft_limit);
  }

  // Bytes that were counted by route; nothing of those without.
  std::map<std::string, uint64_t> Received() const {
    std::map<std::string, uint64_t> received;
    master_->traffic().ForEach([&](std::string_view labels, std::span<const uint64_t> sums) {
      const auto traffic = RowOf<Traffic<uint64_t>>(sums);
      const std::string route(TrafficLabels::Unpack(labels).route);
      if (traffic.bytes_received > 0) received[route] += traffic.bytes_received;
    });
    return received;
  }

  std::shared_ptr<MetricSlabs> master_ = *MetricSlabs::Make(kRoles);
  std::shared_ptr<MetricSlabs> first_ = Role(0);
  std::shared_ptr<MetricSlabs> second_ = Role(1);
};

TEST_F(MetricSlabsTest, AddsUpWhatProcessesCount) {
  const auto rows = Acquire(*first_, {"a", "b"});
  EXPECT_EQ(Acquire(*second_, {"b", "a"}), (std::vector<uint32_t>{rows[1], rows[0]}));
  first_->own_traffic(rows[0]).bytes_received.Add(3);
  second_->own_traffic(rows[0]).bytes_received.Add(4);
  second_->own_traffic(rows[1]).bytes_received.Add(5);
  EXPECT_THAT(Received(), ElementsAre(Pair("a", 7), Pair("b", 5)));
  first_->own().connections.Add(2);
  EXPECT_EQ(master_->column(0).connections.value(), 2u);
}

TEST_F(MetricSlabsTest, KeepsCountsOfTheDeadButNotWhatIsPresent) {
  const auto rows = Acquire(*first_, {"a"});
  first_->own_traffic(rows[0]).bytes_received.Add(3);
  first_->own().connections.Add(2);
  first_->own().present.connections.Set(2);
  master_->OnDied(0);
  EXPECT_THAT(Received(), ElementsAre(Pair("a", 3)));
  EXPECT_EQ(master_->column(0).connections.value(), 2u);
  EXPECT_EQ(master_->column(0).present.connections.value(), 0u);
  first_ = Role(0);  // its successor goes on
  first_->own_traffic(Acquire(*first_, {"a"})[0]).bytes_received.Add(1);
  EXPECT_THAT(Received(), ElementsAre(Pair("a", 4)));
}

TEST_F(MetricSlabsTest, GivesUpRowsThatNobodyHoldsWithoutLosingTheirCounts) {
  // Row 0 is the last resort's: with a soft limit of 3 there are two more.
  const auto old = Acquire(*first_, {"a", "b"}, 3);
  first_->own_traffic(old[0]).bytes_received.Add(3);
  first_->own_traffic(old[1]).bytes_received.Add(5);
  first_->traffic().Release(std::vector<uint32_t>{old[0]});
  const auto fresh = Acquire(*second_, {"c"}, 3);
  EXPECT_EQ(fresh[0], old[0]);
  EXPECT_THAT(Received(), ElementsAre(Pair("b", 5), Pair("other", 3)));
  second_->own_traffic(fresh[0]).bytes_received.Add(10);
  EXPECT_THAT(Received(), ElementsAre(Pair("b", 5), Pair("c", 10), Pair("other", 3)));
  // All are held: there is room above the soft limit.
  EXPECT_EQ(Acquire(*second_, {"a"}, 3)[0], 3u);
  EXPECT_EQ(Acquire(*first_, {"c"}, 3), fresh);
}

TEST_F(MetricSlabsTest, FreesWhatTheDeadHeld) {
  const auto old = Acquire(*first_, {"a", "b"}, 3);
  master_->OnDied(0);
  EXPECT_EQ(Acquire(*second_, {"x", "y"}, 3), old);
}

TEST_F(MetricSlabsTest, GivesTheFallbackWhenAllIsHeld) {
  std::vector<SeriesTable::Wanted> wanted = {
      {.labels = PluginLabels{"other", "cors"}.Pack(), .pinned = true}};
  for (uint32_t i = 0; i < MetricSlabs::kPluginRows; ++i) {
    wanted.push_back({.labels = PluginLabels{std::to_string(i), "cors"}.Pack(), .fallback = 0});
  }
  const auto rows = first_->plugins().Acquire(wanted, 10);
  EXPECT_EQ(rows[MetricSlabs::kPluginRows - 2], MetricSlabs::kPluginRows - 1);
  EXPECT_EQ(rows[MetricSlabs::kPluginRows - 1], rows[0]);
  EXPECT_EQ(rows[MetricSlabs::kPluginRows], rows[0]);
  // All of them are replaced at once: each new one finds a row.
  first_->plugins().Release(rows);
  for (size_t i = 1; i < wanted.size(); ++i) wanted[i].labels += 'x';
  const auto fresh = first_->plugins().Acquire(wanted, 10);
  EXPECT_EQ(fresh[0], rows[0]);
  EXPECT_NE(fresh[MetricSlabs::kPluginRows - 2], rows[0]);
  EXPECT_EQ(first_->plugins().Acquire(wanted, 10), fresh);
}

TEST_F(MetricSlabsTest, SurvivesWhoDiesWithTheLock) {
  Acquire(*first_, {"a"});
  const pid_t child = fork();
  if (child == 0) {
    const auto slabs = Role(1);
    slabs->traffic().ForEach(
        [](std::string_view, std::span<const uint64_t>) { kill(getpid(), SIGKILL); });
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(Acquire(*second_, {"a"}), Acquire(*first_, {"a"}));
}

TEST_F(MetricSlabsTest, RefusesMemoryOfAnotherSize) {
  EXPECT_FALSE(MetricSlabs::Map(master_->memory(), kRoles + 1, 0).has_value());
}

TEST_F(MetricSlabsTest, AllAgreeOnTheScaleOfTicks) {
  const double scale = master_->scale().nanoseconds_per_tick();
  EXPECT_GT(scale, 0);
  EXPECT_EQ(first_->scale().nanoseconds_per_tick(), scale);
}

TEST(SeriesLabelsTest, ComeBackAsTheyWere) {
  DisabledLabels disabled;
  disabled.Add(CompatFamily::kBandwidth, CompatLabel::kService);
  const std::string text = TrafficLabels{.route = "r",
                                         .service = "",
                                         .matched_uri = "/a b/*",
                                         .matched_host = "x.test",
                                         .id = "7",
                                         .disabled = disabled}
                               .Pack();
  const TrafficLabels labels = TrafficLabels::Unpack(text);
  EXPECT_EQ(labels.route, "r");
  EXPECT_EQ(labels.service, "");
  EXPECT_EQ(labels.matched_uri, "/a b/*");
  EXPECT_EQ(labels.matched_host, "x.test");
  EXPECT_EQ(labels.id, "7");
  EXPECT_TRUE(labels.disabled.Contains(CompatFamily::kBandwidth, CompatLabel::kService));
  EXPECT_FALSE(labels.disabled.Contains(CompatFamily::kStatus, CompatLabel::kService));
}

TEST(SeriesLabelsTest, CutsLongValuesBetweenCharacters) {
  std::string name;
  for (int i = 0; i < 200; ++i) name += "\xc3\xa4";
  const std::string text =
      TrafficLabels{
          .route = name, .service = name, .matched_uri = name, .matched_host = name, .id = name}
          .Pack();
  EXPECT_LE(text.size(), 1024u);
  const std::string_view cut = TrafficLabels::Unpack(text).route;
  EXPECT_EQ(cut.size() % 2, 0u);
  EXPECT_EQ(name.substr(0, cut.size()), cut);
}

}  // namespace
}  // namespace sluice
