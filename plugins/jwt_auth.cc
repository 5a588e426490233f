#include "plugins/jwt_auth.h"

#include <algorithm>

#include "gateway/base/base64.h"
#include "gateway/base/log.h"
#include "gateway/plugin/registration.h"
#include "plugins/support/header_fields.h"
#include "plugins/support/off_loop.h"
#include "plugins/support/verified_tokens.h"

namespace sluice::plugins {

SLUICE_PLUGIN(JwtAuth);

namespace {

constexpr std::string_view kNotVerified = "failed to verify jwt";

// Of this worker, on its loop thread: tokens outlive a reload, and those of all routes together are
// bounded. 0.9 MiB.
VerifiedTokens& KnownTokens() {
  static VerifiedTokens known(16 * 1024);
  return known;
}

Jwt& Parser() {
  static Jwt parser;
  return parser;
}

int64_t Seconds(WallTime time) {
  return std::chrono::floor<seconds>(time).time_since_epoch().count();
}

// All that a route's verdict on a token hangs on, beside the key.
Hash128 HashOfRules(const JwtAuth::Config& config, const ClaimRules& rules) {
  std::string text = config.key_claim_name;
  text += '\0';
  text += static_cast<char>('0' + static_cast<int>(rules.expiry));
  text += static_cast<char>('0' + static_cast<int>(rules.not_before));
  for (const auto& list : {config.issuers, config.audiences}) {
    text += std::to_string(list.size());
    for (const std::string& item : list) text.append(1, '\0').append(item);
  }
  return KeyedHash::OfProcess().Of(text);
}

// exp must be there, unless it is not to be looked at; nbf is looked at if it is there.
ClaimRules RulesOf(const JwtAuth::Config& config) {
  using Claim = JwtAuth::Claim;
  using Need = ClaimRules::Need;
  ClaimRules rules{.issuers = config.issuers, .audiences = config.audiences};
  if (!config.claims_to_verify) return rules;
  const auto named = [&config](Claim claim) {
    const auto& claims = *config.claims_to_verify;
    return std::find(claims.begin(), claims.end(), claim) != claims.end();
  };
  rules.expiry = named(Claim::kExpiry) ? Need::kRequired : Need::kIgnored;
  rules.not_before = named(Claim::kNotBefore) ? Need::kIfPresent : Need::kIgnored;
  return rules;
}

conf::Choice<JwsAlgorithm> Algorithms() {
  conf::Choice<JwsAlgorithm> choice;
  for (int i = 0; i <= static_cast<int>(JwsAlgorithm::kEdDsa); ++i) {
    const auto algorithm = static_cast<JwsAlgorithm>(i);
    choice.values.emplace_back(JwsAlgorithmName(algorithm), algorithm);
  }
  return choice;
}

}  // namespace

// A consumer, as the plugin sees it. The keys are shared with what a pool thread is verifying,
// which may take longer than the snapshot lives.
struct JwtAuth::Issuer : Credential {
  std::shared_ptr<const JwsKey> one_key;  // null: `keys`
  std::shared_ptr<const JwkSet> keys;
  seconds leeway{0};
  uint64_t proof = 0;  // differs when keys or leeway do

  std::shared_ptr<const JwsKey> KeyFor(const Jwt& token) const {
    return one_key != nullptr ? one_key : std::shared_ptr<const JwsKey>(keys, keys->Find(token));
  }
};

// --- configuration -------------------------------------------------------------------------------

const conf::Fields<JwtAuth::Config>& JwtAuth::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = [] {
    const conf::Choice<Claim> claim{{{"exp", Claim::kExpiry}, {"nbf", Claim::kNotBefore}}};
    const conf::ListOf<conf::Text> names{{1, 1024}, 0, true, 100};
    conf::Fields<T> fields = {
        conf::Declare("header", &T::header, OptionalFieldName(),
                      "The header field with the token, behind \"Bearer\" or bare; empty: none is "
                      "looked at."),
        conf::Declare("query", &T::query, conf::Text{0, 256},
                      "The parameter of the query with the token; empty: none is looked at."),
        conf::Declare("cookie", &T::cookie, conf::Text{0, 256},
                      "The cookie with the token; empty: none is looked at."),
        conf::Declare("key_claim_name", &T::key_claim_name, conf::Text{1, 256},
                      "The claim that names the consumer by its `key`."),
        conf::Declare("claims_to_verify", &T::claims_to_verify,
                      conf::ListOf<conf::Choice<Claim>>{claim, 0, true, 2},
                      "The claims of time to look at; none given: both. `exp` has to be in the "
                      "token then, `nbf` need not be."),
        conf::Declare("issuers", &T::issuers, names, "`iss` must be one of these; none: any."),
        conf::Declare("audiences", &T::audiences, names,
                      "`aud` must name one of these; none: any."),
        conf::NotBuilt<T>("store_in_ctx"),
    };
    AddAuthenticationFields(fields);
    return fields;
  }();
  return kFields;
}

const conf::Fields<JwtAuth::CredentialConfig>& JwtAuth::CredentialFields() {
  using T = CredentialConfig;
  static const conf::Fields<T> kFields = {
      conf::Required(conf::Declare("key", &T::key, conf::Text{1, 1024},
                                   "What the claim `key_claim_name` of this consumer's tokens "
                                   "says; no other consumer may have it.")),
      conf::Declare("algorithm", &T::algorithm, Algorithms(),
                    "The only algorithm of this consumer's tokens; none given: HS256, or with "
                    "`jwks` that of each key."),
      conf::Declare("secret", &T::secret, conf::Text{1, 4096, true}, "The secret, for HS*."),
      conf::Declare("base64_secret", &T::base64_secret, conf::Boolean{},
                    "The secret is written in base64."),
      conf::Declare("public_key", &T::public_key, conf::Text{1, 64 * 1024, true},
                    "The public key or certificate in PEM, for all other algorithms."),
      conf::Declare("jwks", &T::jwks, conf::Text{1, JwkSet::kMaxBytes, true},
                    "In place of one key: a JWK or a set of them (RFC 7517) as JSON, of which the "
                    "token's `kid` names one."),
      conf::Declare("exp", &T::exp, conf::Integer<int64_t>{1},
                    "For those who sign tokens: how long they are good, in seconds. Not looked at "
                    "here, a token says it itself."),
      conf::Declare("lifetime_grace_period", &T::lifetime_grace_period,
                    conf::Integer<int64_t>{0, 86400},
                    "How far the clocks of issuer and gateway may be apart, in seconds."),
  };
  return kFields;
}

namespace {

Result<JwsKey> ReadKey(const JwtAuth::CredentialConfig& config) {
  const JwsAlgorithm algorithm = config.algorithm.value_or(JwsAlgorithm::kHs256);
  const auto bad = [](std::string detail) {
    return GatewayError(ErrorCode::kInvalidConfig, std::move(detail));
  };
  if (!JwsAlgorithmName(algorithm).starts_with("HS")) {
    if (config.public_key.empty() || !config.secret.empty()) {
      return bad("expected \"public_key\" and no \"secret\" for " +
                 std::string(JwsAlgorithmName(algorithm)));
    }
    return JwsKey::FromPem(algorithm, config.public_key);
  }
  if (config.secret.empty() || !config.public_key.empty()) {
    return bad("expected \"secret\" and no \"public_key\" for " +
               std::string(JwsAlgorithmName(algorithm)));
  }
  if (!config.base64_secret) return JwsKey::FromSecret(algorithm, config.secret);
  const auto secret = DecodeBase64(config.secret, Base64::kStandard);
  if (!secret) return bad("expected \"secret\" in base64, as \"base64_secret\" says");
  return JwsKey::FromSecret(algorithm, *secret);
}

Result<JwkSet> ReadKeys(const JwtAuth::CredentialConfig& config) {
  if (config.secret.empty() && config.public_key.empty() && !config.algorithm) {
    return JwkSet::Make(config.jwks);
  }
  return GatewayError(ErrorCode::kInvalidConfig,
                      "expected neither \"secret\" nor \"public_key\" nor \"algorithm\" beside "
                      "\"jwks\", which has them");
}

}  // namespace

std::unique_ptr<Credential> JwtAuth::MakeCredential(const conf::Place& place) {
  CredentialConfig config;
  const size_t before = place.diagnostics.total();
  if (!conf::ReadFields(place, CredentialFields(), config, "_meta")) return nullptr;
  if (place.diagnostics.total() != before) return nullptr;
  auto issuer = std::make_unique<Issuer>();
  std::string identities = std::to_string(config.lifetime_grace_period);
  const auto add = [&identities](const JwsKey& key, std::string_view id) {
    const Hash128& hash = key.identity();
    identities.append(" ").append(std::to_string(hash.low)).append(" ");
    identities.append(std::to_string(hash.high)).append(" ").append(id);
  };
  if (config.jwks.empty()) {
    auto key = ReadKey(config);
    if (!key.has_value()) return place.Fail(key.error().detail), nullptr;
    add(*key, {});
    issuer->one_key = std::make_shared<const JwsKey>(*std::move(key));
  } else {
    auto keys = ReadKeys(config);
    if (!keys.has_value()) return place.Fail(keys.error().detail), nullptr;
    for (const JwkSet::Key& key : keys->keys()) add(key.key, key.id);
    issuer->keys = std::make_shared<const JwkSet>(*std::move(keys));
  }
  issuer->leeway = seconds(config.lifetime_grace_period);
  issuer->proof = KeyedHash::OfProcess().Of(identities).low;
  issuer->key = std::move(config.key);
  return issuer;
}

JwtAuth::JwtAuth(Config config, Authentication authentication, const CredentialIndex& issuers)
    : config_(std::move(config)),
      places_({.header = config_.header, .query = config_.query, .cookie = config_.cookie},
              CredentialPlaces::Form::kBearer),
      authentication_(std::move(authentication)),
      issuers_(issuers),
      rules_(RulesOf(config_)),
      rules_hash_(HashOfRules(config_, rules_)) {}

std::unique_ptr<const Plugin> JwtAuth::Make(Config config, const PluginBuild& build) {
  auto authentication = Authentication::Make(config, "Bearer", build);
  if (!authentication) return nullptr;
  return std::make_unique<JwtAuth>(std::move(config), *std::move(authentication),
                                   *build.credentials);
}

// --- requests ------------------------------------------------------------------------------------

Verdict JwtAuth::Refuse(RequestContext& request, std::string_view message,
                        std::string_view detail) const {
  if (GetLogLevel() == LogLevel::kDebug) {
    Log(LogLevel::kDebug, "jwt-auth refuses a token",
        {{"route", request.route_id()}, {"detail", detail}});
  }
  return authentication_.Refuse(request, message);
}

Verdict JwtAuth::OnRewrite(RequestContext& request) const {
  const CredentialPlaces::Found found = places_.Find(request);
  if (authentication_.hides_credentials()) places_.Hide(request);
  switch (found.outcome) {
    case CredentialPlaces::Outcome::kNone:
      return authentication_.Refuse(request, "Missing JWT token in request");
    case CredentialPlaces::Outcome::kSeveral:
      return authentication_.Refuse(request, "More than one JWT token in request");
    case CredentialPlaces::Outcome::kOne:
      break;
  }
  return Check(request, found.value);
}

const JwtAuth::Issuer* JwtAuth::FindKnown(const Hash128& name) const {
  const auto known = KnownTokens().Find(name, Seconds(WallNow()));
  if (!known) return nullptr;
  const auto* const issuer = static_cast<const Issuer*>(issuers_.Find(known->subject));
  return issuer != nullptr && issuer->proof == known->proof ? issuer : nullptr;
}

Verdict JwtAuth::Check(RequestContext& request, std::string_view token) const {
  if (token.size() > Jwt::kMaxBytes) return Refuse(request, "JWT token invalid", "too long");
  const Hash128 name = VerifiedTokens::NameOf(token, rules_hash_);
  if (const Issuer* const issuer = FindKnown(name)) {
    return authentication_.Accept(request, *issuer);
  }
  return Verify(request, token, name);
}

Verdict JwtAuth::Verify(RequestContext& request, std::string_view token,
                        const Hash128& name) const {
  Jwt& jwt = Parser();
  if (const Status parsed = jwt.Parse(token); !parsed.has_value()) {
    return Refuse(request, "JWT token invalid", parsed.error().detail);
  }
  const FlatJson::Value* const key_claim = jwt.claims().Find(config_.key_claim_name);
  if (key_claim == nullptr) return Refuse(request, "missing user key in JWT token", "no claim");
  const Hash128 subject = CredentialIndex::HashOf(key_claim->text);
  const auto* const issuer = key_claim->kind == FlatJson::Kind::kString
                                 ? static_cast<const Issuer*>(issuers_.Find(subject))
                                 : nullptr;
  if (issuer == nullptr) return Refuse(request, "Invalid user key in JWT token", key_claim->text);

  ClaimRules rules = rules_;
  rules.leeway = issuer->leeway;
  const auto valid = CheckClaims(jwt.claims(), rules, WallNow());
  if (!valid.has_value()) return Refuse(request, kNotVerified, valid.error().detail);
  std::shared_ptr<const JwsKey> key = issuer->KeyFor(jwt);
  if (key == nullptr) return Refuse(request, kNotVerified, "no key of that kid and alg");
  // What can be said without the key's work, before somebody is given any.
  Status verified = key->CheckForm(jwt);
  if (!verified.has_value()) return Refuse(request, kNotVerified, verified.error().detail);

  const auto remember = [name, entry = VerifiedTokens::Entry{.subject = subject,
                                                             .proof = issuer->proof,
                                                             .from = valid->from,
                                                             .until = valid->until}] {
    KnownTokens().Insert(name, entry);
  };
  const auto decide = [this, issuer](RequestContext& held, const Status& outcome) {
    return outcome.has_value() ? authentication_.Accept(held, *issuer)
                               : Refuse(held, kNotVerified, outcome.error().detail);
  };
  if (!key->is_slow()) {
    verified = key->Verify(jwt);
    if (verified.has_value()) remember();
    return decide(request, verified);
  }
  return VerifyOffLoop(request, {.verify =
                                     [key = std::move(key), copy = std::string(token)] {
                                       Jwt own;
                                       const Status parsed = own.Parse(copy);
                                       return parsed.has_value() ? key->Verify(own) : parsed;
                                     },
                                 .remember = remember,
                                 .decide = decide});
}

}  // namespace sluice::plugins
