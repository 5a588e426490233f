#include "plugins/support/authentication.h"

#include <algorithm>

namespace sluice::plugins {

bool IsRealm(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\'; });
}

std::optional<Authentication> Authentication::Make(const AuthenticationConfig& config,
                                                   std::string_view scheme,
                                                   const PluginBuild& build) {
  Authentication made;
  made.challenge_ = std::string(scheme) + " realm=\"" + config.realm + "\"";
  made.hides_credentials_ = config.hide_credentials;
  if (config.anonymous_consumer.empty()) return made;
  made.anonymous_ = build.credentials->FindConsumer(config.anonymous_consumer);
  if (made.anonymous_ != nullptr) return made;
  const conf::Place place{*build.place.node.Find("anonymous_consumer"), build.place.diagnostics,
                          &build.place, "anonymous_consumer"};
  place.Fail("there is no consumer with the username \"" + config.anonymous_consumer + "\"");
  return std::nullopt;
}

Authentication::Presented Authentication::Take(RequestContext& request,
                                               const CredentialPlaces& places,
                                               std::string_view what) const {
  using Outcome = CredentialPlaces::Outcome;
  const CredentialPlaces::Found found = places.Find(request);
  if (hides_credentials_) {
    const Status hidden = places.Hide(request);
    if (!hidden.has_value()) return {{}, request.Fail(hidden.error().detail)};
  }
  if (found.outcome == Outcome::kOne) return {found.value, std::nullopt};
  const std::string_view how = found.outcome == Outcome::kNone ? "Missing " : "More than one ";
  return {{}, Refuse(request, std::string(how) + std::string(what) + " in request")};
}

Verdict Authentication::Accept(RequestContext& request, const Credential& credential) const {
  request.SetConsumer(*credential.consumer, credential.id);
  return Verdict::kContinue;
}

Verdict Authentication::Refuse(RequestContext& request, std::string_view message) const {
  if (anonymous_ != nullptr) {
    request.SetConsumer(*anonymous_);
    return Verdict::kContinue;
  }
  request.SetResponseHeader("WWW-Authenticate", challenge_);
  return request.ReplyMessage(401, message);
}

}  // namespace sluice::plugins
