#include "plugins/limit_req.h"

#include "gateway/plugin/registration.h"
#include "gateway/plugin/shared_limits.h"

namespace sluice::plugins {

SLUICE_PLUGIN(LimitReq);

namespace {

constexpr double kLargestRate = 1e7;  // what the bucket is exact for
constexpr double kLargestBurst = 1e9;

}  // namespace

const conf::Fields<LimitReq::Config>& LimitReq::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = [] {
    conf::Fields<T> fields = {
        conf::Required(conf::Declare("rate", &T::rate, conf::Number{0, kLargestRate, true},
                                     "Requests a second that leave for each key.")),
        conf::Required(conf::Declare("burst", &T::burst, conf::Number{0, kLargestBurst},
                                     "Requests above the rate that wait; more are refused.")),
        conf::Required(conf::Declare("key", &T::key, conf::Text{1, 1024},
                                     "What is counted by; the client's address when a request "
                                     "does not have it.")),
        conf::Declare("key_type", &T::key_type, KeyTypes(),
                      "`key` is the name of a variable, or a text with $variables."),
        conf::Declare("nodelay", &T::nodelay, conf::Boolean{},
                      "Requests within the burst go at once."),
        conf::Declare("policy", &T::policy, LimitPolicies(),
                      "Who counts together: `local`, all workers of this host."),
    };
    AddLimitFields(fields);
    AddRedisFields(fields);
    return fields;
  }();
  return kFields;
}

std::unique_ptr<const Plugin> LimitReq::Make(const Config& config, const PluginBuild& build) {
  LimitKey key = LimitKey::Make(config.key, config.key_type, build.place, "key");
  const Hash128 name = SharedLimits::NameOf(std::string(build.owner) + " limit-req");
  return std::make_unique<LimitReq>(config, std::move(key), name);
}

Verdict LimitReq::OnAccess(RequestContext& request) const {
  SharedLimits& limits = request.services().limits();
  const auto decision =
      limits.table().Decide(limits.KeyOf(name_, key_.Of(request)), bucket_, 1, LimitTime(request));
  if (!decision) return fields_.FailFull(request);
  if (!decision->allowed) return fields_.Reject(request);
  if (decision->delay < milliseconds(1)) return Verdict::kContinue;
  return request.Delay(decision->delay);
}

}  // namespace sluice::plugins
