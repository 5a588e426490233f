// token-bucket: each request takes tokens, which come back at a rate up to the bucket's capacity;
// without enough tokens it is refused. Ours; APISIX has nothing like it: a burst of `capacity` at
// any time, and requests of different cost.
#pragma once

#include <memory>
#include <string>

#include "gateway/base/keyed_hash.h"
#include "gateway/plugin/plugin.h"
#include "plugins/support/limit_amount.h"
#include "plugins/support/limit_fields.h"
#include "plugins/support/limit_key.h"
#include "ratelimit/gcra.h"

namespace sluice::plugins {

class TokenBucket final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "token-bucket",
      .priority = 1004,
      .summary = "Lets requests pass for tokens that come back at a rate.",
      .example = R"yaml(capacity: 100
refill: 10
cost: 5
key: "$remote_addr $http_x_tenant"
key_type: var_combination)yaml",
      .enforces = true};

  struct Config : LimitFields {
    Config() { rejected_code = 429; }

    uint64_t capacity = 0;
    double refill = 0;
    LimitAmount cost{.number = 1, .text = {}};
    std::string key = "remote_addr";
    LimitKey::Type key_type = LimitKey::Type::kVariable;
    bool show_limit_quota_header = true;
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);

  TokenBucket(Config config, LimitKey key, const Hash128& name)
      : config_(std::move(config)),
        key_(std::move(key)),
        name_(name),
        bucket_(config_.capacity, config_.refill) {}

  Verdict OnAccess(RequestContext& request) const override;

 private:
  const Config config_;
  const LimitKey key_;
  const Hash128 name_;
  const ratelimit::TokenBucket bucket_;
};

}  // namespace sluice::plugins
