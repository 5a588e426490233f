// cors: tells browsers which pages of other origins may read responses (the Fetch standard's CORS
// protocol), and answers their preflight requests. APISIX's fields.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/plugin/plugin.h"
#include "plugins/support/pattern_list.h"

namespace sluice::plugins {

class Cors final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "cors",
      .priority = 4000,
      .summary = "Lets pages of other origins read responses, and answers every OPTIONS request.",
      .example = R"yaml(allow_origins: https://app.example.com,https://admin.example.com
allow_methods: GET,POST
allow_headers: Content-Type,Authorization
allow_credential: true
max_age: 600)yaml"};

  struct Config {
    std::string allow_origins = "*";
    std::string allow_methods = "*";
    std::string allow_headers = "*";
    std::string expose_headers;
    int64_t max_age = 5;
    bool allow_credential = false;
    std::vector<std::string> allow_origins_by_regex;
    std::vector<std::string> allow_origins_by_metadata;
    std::optional<std::string> timing_allow_origins;
    std::vector<std::string> timing_allow_origins_by_regex;
  };
  static const conf::Fields<Config>& Fields();
  struct Metadata {
    std::vector<std::pair<std::string, std::string>> allow_origins;
  };
  static const conf::Fields<Metadata>& MetadataFields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);

  Verdict OnRewrite(RequestContext& request) const override;
  Verdict OnHeaderFilter(RequestContext& request, ResponseContext& response) const override;

 private:
  // Who may: everybody ("*"), whoever asks ("**"), those of a list, those who match a pattern.
  struct Origins {
    enum class Kind : uint8_t { kNone, kAny, kAsking, kListed, kPatterns };
    Kind kind = Kind::kNone;
    std::vector<std::string> list;
    PatternList patterns;

    static Origins Make(std::string_view text);
    // What the response says to `origin` (null data(): it has none); empty: nothing.
    std::string_view Answer(std::string_view origin) const;
    bool is_constant() const { return kind == Kind::kNone || kind == Kind::kAny; }
  };
  struct Asked {
    bool known = false;
    std::string_view origin;
  };

  std::string_view AllowedOrigin(std::string_view origin) const;
  void Allow(std::string_view origin, RequestContext& request, ResponseContext& response) const;

  Origins origins_;
  std::vector<Origins> by_metadata_;
  Origins timing_;
  std::string methods_;
  std::string headers_;
  std::string expose_;
  std::string max_age_;
  bool credentials_ = false;
  bool varies_ = false;
};

}  // namespace sluice::plugins
