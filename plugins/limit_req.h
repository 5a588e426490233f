// limit-req: requests of a key leave at a rate; those that come earlier wait for their turn, and
// those above the burst are refused. APISIX's fields, nginx's leaky bucket.
#pragma once

#include <memory>
#include <string>

#include "gateway/base/keyed_hash.h"
#include "gateway/plugin/plugin.h"
#include "plugins/support/limit_fields.h"
#include "plugins/support/limit_key.h"
#include "ratelimit/gcra.h"

namespace sluice::plugins {

class LimitReq final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "limit-req",
      .priority = 1001,
      .summary = "Limits the rate of requests by a leaky bucket for each key.",
      .example = R"yaml(rate: 10
burst: 20
key: remote_addr
rejected_code: 429)yaml",
      .enforces = true};

  struct Config : LimitFields {
    double rate = 0;
    double burst = 0;
    bool nodelay = false;
    std::string key;
    LimitKey::Type key_type = LimitKey::Type::kVariable;
    LimitPolicy policy = LimitPolicy::kLocal;
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(const Config& config, const PluginBuild& build);

  LimitReq(const Config& config, LimitKey key, const Hash128& name)
      : fields_(config),
        key_(std::move(key)),
        name_(name),
        bucket_(config.rate, config.burst, config.nodelay) {}

  Verdict OnAccess(RequestContext& request) const override;

 private:
  const LimitFields fields_;
  const LimitKey key_;
  const Hash128 name_;
  const ratelimit::LeakyBucket bucket_;
};

}  // namespace sluice::plugins
