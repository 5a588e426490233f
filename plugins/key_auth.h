// key-auth: knows consumers by a key that they send in a header field or the query. APISIX's
// fields.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "plugins/support/authentication.h"
#include "plugins/support/credential_places.h"

namespace sluice::plugins {

class KeyAuth final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "key-auth",
      .priority = 2500,
      .summary = "Knows consumers by a key that they send in a header field or the query.",
      .example = R"yaml(header: X-Api-Key
query: ""
hide_credentials: true)yaml",
      .enforces = true,
      .authenticates = true};

  struct Config : AuthenticationConfig {
    Config() { realm = "key"; }
    std::string header = "apikey";
    std::string query = "apikey";
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);

  struct CredentialConfig {
    std::string key;
  };
  static const conf::Fields<CredentialConfig>& CredentialFields();
  static std::unique_ptr<Credential> MakeCredential(const conf::Place& place);

  KeyAuth(CredentialPlaces places, Authentication authentication, const CredentialIndex& keys)
      : places_(std::move(places)), authentication_(std::move(authentication)), keys_(keys) {}

  Verdict OnRewrite(RequestContext& request) const override;

 private:
  const CredentialPlaces places_;
  const Authentication authentication_;
  const CredentialIndex& keys_;
};

}  // namespace sluice::plugins
