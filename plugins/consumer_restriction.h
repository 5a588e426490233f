// consumer-restriction: who may use a route, by consumer, consumer group, service or route.
// APISIX's fields.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/plugin/plugin.h"

namespace sluice::plugins {

class ConsumerRestriction final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "consumer-restriction",
      .priority = 2400,
      .summary = "Lets only some consumers, groups, services or routes pass.",
      .example = R"yaml(whitelist: [jack, rose]
allowed_by_methods: [{user: guest, methods: [GET, HEAD]}]
rejected_msg: not yours)yaml",
      .enforces = true};

  enum class Subject : uint8_t { kConsumer, kConsumerGroup, kService, kRoute };
  struct MethodRule {
    std::string user;
    std::vector<std::string> methods;
  };
  struct Config {
    Subject type = Subject::kConsumer;
    std::vector<std::string> whitelist;
    std::vector<std::string> blacklist;
    std::vector<MethodRule> allowed_by_methods;
    int rejected_code = 403;
    std::string rejected_msg;
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);

  explicit ConsumerRestriction(Config config);

  Verdict OnAccess(RequestContext& request) const override;

 private:
  std::string_view SubjectOf(const RequestContext& request) const;
  bool MayUse(std::string_view subject, std::string_view method) const;

  const Config config_;  // lists in order
};

}  // namespace sluice::plugins
