#include "plugins/key_auth.h"

#include "gateway/plugin/registration.h"
#include "plugins/support/header_fields.h"

namespace sluice::plugins {

SLUICE_PLUGIN(KeyAuth);

const conf::Fields<KeyAuth::Config>& KeyAuth::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = [] {
    conf::Fields<T> fields = {
        conf::Declare("header", &T::header, OptionalFieldName(),
                      "The header field with the key; empty: none is looked at."),
        conf::Declare("query", &T::query, conf::Text{0, 256},
                      "The parameter of the query with the key; empty: none is looked at."),
    };
    AddAuthenticationFields(fields);
    return fields;
  }();
  return kFields;
}

const conf::Fields<KeyAuth::CredentialConfig>& KeyAuth::CredentialFields() {
  using T = CredentialConfig;
  static const conf::Fields<T> kFields = {conf::Required(conf::Declare(
      "key", &T::key, conf::Text{1, 4096}, "The key; no other consumer may have it."))};
  return kFields;
}

std::unique_ptr<Credential> KeyAuth::MakeCredential(const conf::Place& place) {
  auto config = ReadCredential(place, CredentialFields());
  if (!config) return nullptr;
  auto credential = std::make_unique<Credential>();
  credential->key = std::move(config->key);
  return credential;
}

std::unique_ptr<const Plugin> KeyAuth::Make(Config config, const PluginBuild& build) {
  auto authentication = Authentication::Make(config, "apikey", build);
  if (!authentication) return nullptr;
  return std::make_unique<KeyAuth>(
      CredentialPlaces({.header = std::move(config.header), .query = std::move(config.query)},
                       CredentialPlaces::Form::kPlain),
      *std::move(authentication), *build.credentials);
}

Verdict KeyAuth::OnRewrite(RequestContext& request) const {
  const auto presented = authentication_.Take(request, places_, "API key");
  if (presented.verdict) return *presented.verdict;
  const Credential* const credential = keys_.Find(CredentialIndex::HashOf(presented.value));
  if (credential == nullptr) return authentication_.Refuse(request, "Invalid API key in request");
  return authentication_.Accept(request, *credential);
}

}  // namespace sluice::plugins
