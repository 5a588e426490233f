// mocking: answers in place of an upstream that is not there yet: with an example, or with values
// made up after a JSON Schema. APISIX's fields.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gateway/http/text_template.h"
#include "gateway/plugin/plugin.h"
#include "plugins/support/mock_values.h"

namespace sluice::plugins {

class Mocking final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "mocking",
      .priority = 10900,
      .summary = "Answers with an example, or with values made up after a JSON Schema.",
      .example = R"yaml(response_status: 201
response_headers: {X-From: $host}
response_schema:
  properties:
    id: {type: integer, example: 42}
    name: {type: string}
    tags: {type: array, items: {type: string}})yaml"};

  struct Config {
    Duration delay{};
    int response_status = 200;
    std::string content_type = "application/json;charset=utf8";
    std::optional<std::string> response_example;
    const conf::Node* response_schema = nullptr;
    bool with_mock_header = true;
    std::vector<std::pair<std::string, std::string>> response_headers;
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);

  Verdict OnAccess(RequestContext& request) const override;

 private:
  std::unique_ptr<const MockValue> made_up_;  // null: the example
  TextTemplate example_;
  std::string content_type_;
  std::vector<std::pair<std::string, TextTemplate>> headers_;
  int status_ = 0;
  Duration delay_{};
  bool says_so_ = false;
};

}  // namespace sluice::plugins
