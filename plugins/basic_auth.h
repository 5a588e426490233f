// basic-auth: knows consumers by a name and a password (RFC 7617). APISIX's fields, and
// `password_hash` of a consumer.
#pragma once

#include <memory>
#include <string>
#include <string_view>
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
  static std::unique_ptr<const Plugin> Make(const Config& config, const PluginBuild& build);

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

  Verdict Check(RequestContext& request, std::string_view name, std::string password) const;
  // `is_user`: the name is his; otherwise it only has to take as long.
  Verdict CheckHash(RequestContext& request, const User& user, bool is_user,
                    std::string password) const;

  const Authentication authentication_;
  const CredentialIndex& users_;
};

}  // namespace sluice::plugins
