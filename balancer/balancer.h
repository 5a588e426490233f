// What every balancing algorithm has in common. Pure: no clock, no network, no HTTP. The caller
// hands in columns (spans indexed by endpoint): what it knows of each endpoint now, and the states
// that it keeps. Tables are built once for a set of endpoints and are immutable; states live with
// the caller, keyed by endpoint, so that they outlive a reload.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace sluice::balancer {

// An endpoint as an algorithm sees it. `eligible` says whether it may be picked now (healthy, not
// ejected, not tried before by this request, not over its limits).
struct EndpointView {
  uint32_t weight = 1;
  bool eligible = true;
};

// Weight 0 drains: no algorithm gives the endpoint anything new, not even to a key that belongs to
// it; what is in flight there ends normally.
inline bool MayPick(const EndpointView& endpoint) {
  return endpoint.eligible && endpoint.weight > 0;
}

// Endpoints of one priority: the range [begin, end) of columns that are sorted by priority.
struct Tier {
  size_t begin = 0;
  size_t end = 0;

  size_t size() const { return end - begin; }
  friend bool operator==(const Tier&, const Tier&) = default;
};

// The tiers of endpoints that are sorted by priority, highest first.
std::vector<Tier> MakeTiers(std::span<const int32_t> priorities);

// The tier to pick from: the first with an endpoint that may be picked; nullopt when there is none.
std::optional<Tier> ActiveTier(std::span<const Tier> tiers,
                               std::span<const EndpointView> endpoints);

// Hides the endpoints that a request has tried, while it picks again: never the same node first.
// They are as they were when this goes out of scope. When nothing else can be picked, the caller
// may pick once more without hiding.
class WithoutTried {
 public:
  // One endpoint that was tried; kept by the request.
  struct Tried {
    uint32_t index = 0;
    bool swapped = false;  // its eligibility while it is hidden; owned by WithoutTried
  };

  WithoutTried(std::span<EndpointView> endpoints, std::span<Tried> tried);
  ~WithoutTried();
  WithoutTried(const WithoutTried&) = delete;
  WithoutTried& operator=(const WithoutTried&) = delete;

 private:
  std::span<EndpointView> endpoints_;
  std::span<Tried> tried_;
};

// What building a table gives: the table, or a sentence that says what was expected and what came.
template <typename Table>
using Built = std::variant<Table, std::string>;

// A node of a table that is looked up by hash. `name` is its identity: keys follow it wherever it
// stands in the list. "HOST:PORT" as nginx's `server` directive has it.
struct HashedNode {
  std::string_view name;
  uint32_t weight = 1;
};

// How often a look-up by hash goes on to the next place when the endpoint found there may not be
// picked, before the caller falls back to round robin (nginx's number).
inline constexpr int kHashTries = 20;

}  // namespace sluice::balancer
