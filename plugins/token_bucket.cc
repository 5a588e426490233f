#include "plugins/token_bucket.h"

#include <utility>

#include "gateway/base/text.h"
#include "gateway/plugin/registration.h"
#include "gateway/plugin/shared_limits.h"

namespace sluice::plugins {

SLUICE_PLUGIN(TokenBucket);

namespace {

constexpr int64_t kLargestCapacity = 1'000'000'000;
constexpr double kLargestRefill = 1e7;  // what the bucket is exact for

}  // namespace

const conf::Fields<TokenBucket::Config>& TokenBucket::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = [] {
    conf::Fields<T> fields = {
        conf::Required(conf::Declare("capacity", &T::capacity,
                                     conf::Integer<uint64_t>{1, kLargestCapacity},
                                     "Tokens of a full bucket, as it is for a new key.")),
        conf::Required(conf::Declare("refill", &T::refill, conf::Number{0, kLargestRefill, true},
                                     "Tokens a second that come back.")),
        conf::Declare("cost", &T::cost, LimitAmountField{1, kLargestCapacity},
                      "Tokens that a request takes; 1 without it."),
        conf::Declare("key", &T::key, conf::Text{1, 1024},
                      "Whose bucket; the client's address when a request does not have it."),
        conf::Declare("key_type", &T::key_type, KeyTypes(true),
                      "`key` is the name of a variable, a text with $variables, or a constant: "
                      "one bucket for all."),
        conf::Declare("show_limit_quota_header", &T::show_limit_quota_header, conf::Boolean{},
                      "Replies say X-RateLimit-Limit, -Remaining and -Reset."),
    };
    AddLimitFields(fields);
    return fields;
  }();
  return kFields;
}

std::unique_ptr<const Plugin> TokenBucket::Make(Config config, const PluginBuild& build) {
  if (!config.cost.text && config.cost.number > config.capacity) {
    build.place.Fail("expected a \"cost\" of at most the capacity, " +
                     std::to_string(config.capacity) + ", got " +
                     std::to_string(config.cost.number));
  }
  LimitKey key = LimitKey::Make(config.key, config.key_type, build.place, "key");
  const Hash128 name = SharedLimits::NameOf(std::string(build.owner) + " token-bucket");
  return std::make_unique<TokenBucket>(std::move(config), std::move(key), name);
}

Verdict TokenBucket::OnAccess(RequestContext& request) const {
  const auto cost = config_.cost.Of(request, 0, kLargestCapacity);
  if (!cost.has_value()) return config_.Fail(request, "cost: " + cost.error().detail);
  SharedLimits& limits = request.services().limits();
  const auto decision = limits.table().Decide(limits.KeyOf(name_, key_.Of(request)), bucket_, *cost,
                                              LimitTime(request));
  if (!decision) return config_.FailFull(request);
  if (config_.show_limit_quota_header) {
    request.SetResponseHeader("X-RateLimit-Limit", Decimal(config_.capacity).text());
    request.SetResponseHeader("X-RateLimit-Remaining", Decimal(decision->remaining).text());
    request.SetResponseHeader("X-RateLimit-Reset",
                              Decimal(ratelimit::WholeSeconds(decision->reset)).text());
  }
  if (decision->allowed) return Verdict::kContinue;
  // Zero: it will never be allowed, so there is nothing to wait for.
  if (decision->retry_after.count() > 0) {
    request.SetResponseHeader("Retry-After",
                              Decimal(ratelimit::WholeSeconds(decision->retry_after)).text());
  }
  return config_.Reject(request);
}

}  // namespace sluice::plugins
