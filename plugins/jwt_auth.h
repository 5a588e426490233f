// jwt-auth: knows consumers by a signed token (RFC 7519). Which key verifies a token, and with
// which algorithm, is the consumer's to say, never the token's (RFC 8725, section 3.1). APISIX's
// fields; ours: `issuers`, `audiences`, and of a consumer `jwks`, `jwks_uri`.
//
//   token ─ known? ─► accept         of this worker, bounded, by a keyed hash
//     └ claims ─► consumer ─► key    fetched from jwks_uri, if it must be
//                    └ exp, nbf ...   └ signature, off the loop if slow ─► accept
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "conf/plugin_upstreams.h"
#include "plugins/support/authentication.h"
#include "plugins/support/credential_places.h"
#include "plugins/support/jwk.h"
#include "plugins/support/remote_keys.h"

namespace sluice::plugins {

class JwtAuth final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{.name = "jwt-auth",
                                        .priority = 2510,
                                        .summary = "Knows consumers by a signed token (RFC 7519).",
                                        .example = R"yaml(key_claim_name: iss
audiences: [orders]
cookie: ""
hide_credentials: true)yaml",
                                        .enforces = true,
                                        .authenticates = true};

  enum class Claim : uint8_t { kExpiry, kNotBefore };
  struct Config : AuthenticationConfig {
    Config() { realm = "jwt"; }
    std::string header = "authorization";
    std::string query = "jwt";
    std::string cookie = "jwt";
    std::string key_claim_name = "key";
    std::optional<std::vector<Claim>> claims_to_verify;
    std::vector<std::string> issuers;
    std::vector<std::string> audiences;
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);

  struct CredentialConfig {
    std::string key;
    std::optional<JwsAlgorithm> algorithm;
    std::string secret;
    bool base64_secret = false;
    std::string public_key;
    std::string jwks;
    std::string jwks_uri;
    int64_t jwks_refresh = 3600;
    bool jwks_ssl_verify = true;
    int64_t exp = 86400;
    int64_t lifetime_grace_period = 0;
  };
  static const conf::Fields<CredentialConfig>& CredentialFields();
  static std::unique_ptr<Credential> MakeCredential(const conf::Place& place);

  static void FindUpstreams(const conf::Place& plugin, conf::UpstreamSink& sink);

  using Upstreams = std::unordered_map<const conf::Node*, int32_t>;
  JwtAuth(Config config, Authentication authentication, const CredentialIndex& issuers,
          const Upstreams* upstreams);

  Verdict OnRewrite(RequestContext& request) const override;

 private:
  struct Issuer;
  // What an unverified token claims, and may be remembered by when it is.
  struct Claimant {
    const Issuer* issuer = nullptr;
    Hash128 subject{};
    ValidTime valid{};
    Hash128 token{};
  };
  struct Reading {
    Claimant claimant;
    std::optional<Verdict> refusal;
  };

  const Issuer* FindKnown(const Hash128& name, MonoTime now) const;
  Verdict Check(RequestContext& request, std::string_view token) const;
  Reading Read(RequestContext& request, std::string_view token, const Hash128& name) const;
  Verdict FindKey(RequestContext& request, std::string_view token, const Claimant& claimant) const;
  Verdict WaitForKeys(RequestContext& request, std::string_view token,
                      const Claimant& claimant) const;
  void KeepFresh(RequestContext& request, const Issuer& issuer) const;
  RemoteKeys::Fetch FetchFor(RequestContext& request, const Issuer& issuer) const;
  Verdict Verify(RequestContext& request, std::string_view token, const Claimant& claimant,
                 Ticket* held) const;
  Verdict Refuse(RequestContext& request, std::string_view message, std::string_view detail) const;

  const Config config_;
  const CredentialPlaces places_;
  const Authentication authentication_;
  const CredentialIndex& issuers_;
  const Upstreams* const upstreams_;  // the configuration's, which lives as long as this
  const ClaimRules rules_;            // but for the leeway, which is the consumer's
  const Hash128 rules_hash_;
};

}  // namespace sluice::plugins
