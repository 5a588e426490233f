#include "balancer/balancer.h"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::balancer {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(TierTest, GroupsEqualPriorities) {
  const std::vector<int32_t> priorities = {5, 5, 0, -1, -1, -1};
  EXPECT_THAT(MakeTiers(priorities), ElementsAre(Tier{0, 2}, Tier{2, 3}, Tier{3, 6}));
  EXPECT_THAT(MakeTiers({}), IsEmpty());
}

TEST(TierTest, UsesTheHighestThatHasAnEndpoint) {
  const std::vector<Tier> tiers = {{0, 2}, {2, 4}};
  std::vector<EndpointView> endpoints(4);
  EXPECT_EQ(ActiveTier(tiers, endpoints), (Tier{0, 2}));
  endpoints[0].eligible = false;
  EXPECT_EQ(ActiveTier(tiers, endpoints), (Tier{0, 2}));
  endpoints[1].weight = 0;
  EXPECT_EQ(ActiveTier(tiers, endpoints), (Tier{2, 4})) << "one sick, the other draining";
  endpoints[2].eligible = endpoints[3].eligible = false;
  EXPECT_EQ(ActiveTier(tiers, endpoints), std::nullopt);
  endpoints[0].eligible = true;
  EXPECT_EQ(ActiveTier(tiers, endpoints), (Tier{0, 2}));
}

TEST(WithoutTriedTest, HidesAndRestores) {
  std::vector<EndpointView> endpoints(4);
  endpoints[2].eligible = false;
  // One of them twice, one that was not eligible anyway, one that a reload has removed.
  std::vector<WithoutTried::Tried> tried = {{1}, {2}, {1}, {9}};
  for (int attempt = 0; attempt < 2; ++attempt) {
    {
      const WithoutTried hidden(endpoints, tried);
      EXPECT_TRUE(endpoints[0].eligible);
      EXPECT_FALSE(endpoints[1].eligible);
      EXPECT_FALSE(endpoints[2].eligible);
      EXPECT_TRUE(endpoints[3].eligible);
    }
    EXPECT_TRUE(endpoints[1].eligible);
    EXPECT_FALSE(endpoints[2].eligible);
  }
}

}  // namespace
}  // namespace sluice::balancer
