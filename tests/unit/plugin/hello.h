// hello: answers a greeting, or says in the response whom it has greeted. The example of
// docs/plugins/README.md.
#pragma once

#include <string>
#include <utility>

#include "gateway/plugin/plugin.h"

namespace sluice::plugins {

class Hello final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "hello", .priority = 50, .summary = "Answers greetings.", .enforces = true};

  struct Config {
    std::string greeting = "hello";
    bool answers = false;
  };
  static const conf::Fields<Config>& Fields();

  explicit Hello(Config config) : config_(std::move(config)) {}

  Verdict OnAccess(RequestContext& request) const override;

 private:
  const Config config_;
};

}  // namespace sluice::plugins
