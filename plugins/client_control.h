// client-control: how large a body clients may send on a route. APISIX's fields.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "gateway/plugin/plugin.h"

namespace sluice::plugins {

class ClientControl final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "client-control",
      .priority = 22000,
      .summary = "Limits the size of request bodies, in place of client_max_body_size.",
      .example = R"yaml(max_body_size: 1048576)yaml",
      .enforces = true};

  struct Config {
    std::optional<uint64_t> max_body_size;
  };
  static const conf::Fields<Config>& Fields();

  explicit ClientControl(Config config) : config_(config) {}

  Verdict OnRewrite(RequestContext& request) const override;

 private:
  const Config config_;
};

}  // namespace sluice::plugins
