// basic-auth: knows consumers by a name and a password (RFC 7617). APISIX's fields, and
// `password_hash` of a consumer.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "plugins/support/authentication.h"

namespace sluice::plugins {

class BasicAuth final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "basic-auth",
      .priority = 2520,
      .summary = "Knows consumers by a name and a password (RFC 7617).",
      .example = R"yaml(realm: staff
hide_credentials: true)yaml",
      .enforces = true,
      .authenticates = true};

  struct Config : AuthenticationConfig {
    Config() { realm = "basic"; }
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);

  struct CredentialConfig {
    std::string username;
    std::string password;
    std::string password_hash;
  };
  static const conf::Fields<CredentialConfig>& CredentialFields();
  static std::unique_ptr<Credential> MakeCredential(const conf::Place& place);

  BasicAuth(Authentication authentication, const CredentialIndex& users)
      : authentication_(std::move(authentication)), users_(users) {}

  Verdict OnRewrite(RequestContext& request) const override;

 private:
  struct User;

  Verdict Check(RequestContext& request, const std::string& name_and_password) const;
  Verdict CheckHash(RequestContext& request, const User& user, std::string password) const;

  const Authentication authentication_;
  const CredentialIndex& users_;
};

}  // namespace sluice::plugins
