// What plugins that authenticate have in common: their fields `realm`, `anonymous_consumer` and
// `hide_credentials`, and how a request is let in or refused. Part of a plugin's object, constant.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "conf/declaration.h"
#include "gateway/plugin/consumer.h"
#include "gateway/plugin/plugin.h"
#include "plugins/support/credential_places.h"

namespace sluice::plugins {

struct AuthenticationConfig {
  std::string realm;
  std::string anonymous_consumer;  // empty: none
  bool hide_credentials = false;
};

bool IsRealm(std::string_view text);

template <typename T>
void AddAuthenticationFields(conf::Fields<T>& fields) {
  fields.push_back(conf::Declare<T>("hide_credentials",
                                    static_cast<bool T::*>(&T::hide_credentials), conf::Boolean{},
                                    "Takes the credentials out of what the upstream gets."));
  fields.push_back(conf::Declare<T>(
      "anonymous_consumer", static_cast<std::string T::*>(&T::anonymous_consumer),
      conf::Text{1, 256},
      "Username of the consumer as whom requests without valid credentials go on; none: they are "
      "refused."));
  fields.push_back(conf::Declare<T>(
      "realm", static_cast<std::string T::*>(&T::realm),
      conf::TextLike{
          "printable ASCII without '\"' and '\\'", IsRealm, "^[ -!#-[\\]-~]+$", {1, 128}},
      "The realm that WWW-Authenticate names in a refusal."));
}

// What a consumer or credential says for a plugin; nothing when that is wrong, which is said.
template <typename T>
std::optional<T> ReadCredential(const conf::Place& place, const conf::Fields<T>& fields) {
  T config;
  const size_t before = place.diagnostics.total();
  if (!conf::ReadFields(place, fields, config, "_meta")) return std::nullopt;
  if (place.diagnostics.total() != before) return std::nullopt;
  return config;
}

class Authentication {
 public:
  // `scheme` of the challenge: "Basic". Nothing when there is no consumer of that name, which is
  // said.
  static std::optional<Authentication> Make(const AuthenticationConfig& config,
                                            std::string_view scheme, const PluginBuild& build);

  // The one key or token at `places`, which is hidden if it is to be; `what` names it in refusals.
  struct Presented {
    std::string_view value;
    std::optional<Verdict> verdict;  // there is none: this becomes of the request
  };
  Presented Take(RequestContext& request, const CredentialPlaces& places,
                 std::string_view what) const;

  Verdict Accept(RequestContext& request, const Credential& credential) const;
  // 401 with a challenge; or it goes on as the anonymous consumer.
  Verdict Refuse(RequestContext& request, std::string_view message) const;
  bool hides_credentials() const { return hides_credentials_; }

 private:
  Authentication() = default;

  std::string challenge_;
  const Consumer* anonymous_ = nullptr;
  bool hides_credentials_ = false;
};

}  // namespace sluice::plugins
