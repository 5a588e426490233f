#include "plugins/jwt_auth.h"

#include <algorithm>

#include "gateway/base/base64.h"
#include "gateway/base/log.h"
#include "gateway/plugin/registration.h"
#include "plugins/support/header_fields.h"
#include "plugins/support/off_loop.h"
#include "plugins/support/service_url.h"
#include "plugins/support/verified_tokens.h"

namespace sluice::plugins {

SLUICE_PLUGIN(JwtAuth);

namespace {

constexpr std::string_view kNotVerified = "failed to verify jwt";
constexpr std::string_view kInvalid = "JWT token invalid";
constexpr Duration kFetchLimit = seconds(5);

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

Verdict TooMany(RequestContext& request) {
  request.SetResponseHeader("Retry-After", "1");
  return request.ReplyMessage(503, "Too many requests wait for keys");
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
  struct Remote {
    std::string name;
    ServiceUrl url;
    const conf::Node* node = nullptr;  // where the URL stands
    Duration refresh{};
  };

  std::shared_ptr<const JwsKey> one_key;  // one of the three
  std::shared_ptr<const JwkSet> keys;
  std::optional<Remote> remote;
  seconds leeway{0};

  std::shared_ptr<const JwkSet> Keys(MonoTime now) const {
    return remote ? RemoteKeys::Of(remote->name, now)->keys() : keys;
  }
  // Null: it has none for this token.
  std::shared_ptr<const JwsKey> KeyFor(const Jwt& token, MonoTime now) const {
    if (one_key != nullptr) return one_key;
    const std::shared_ptr<const JwkSet> set = Keys(now);
    return set == nullptr ? nullptr : std::shared_ptr<const JwsKey>(set, set->Find(token));
  }
  // What a token was verified by: key and leeway.
  uint64_t ProofBy(const JwsKey& by) const {
    return by.identity().low ^ (static_cast<uint64_t>(leeway.count()) << 40);
  }
  // Is it still good?
  bool Knows(uint64_t proof, MonoTime now) const {
    if (one_key != nullptr) return ProofBy(*one_key) == proof;
    const std::shared_ptr<const JwkSet> set = Keys(now);
    return set != nullptr &&
           std::any_of(set->keys().begin(), set->keys().end(),
                       [&](const JwkSet::Key& one) { return ProofBy(one.key) == proof; });
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
      conf::Declare("jwks_uri", &T::jwks_uri, ServiceUrlText(),
                    "In place of `jwks`: where such a set is published."),
      conf::Declare(
          "jwks_refresh", &T::jwks_refresh, conf::Integer<int64_t>{60, 604'800},
          "After how many seconds it is fetched again. Also when a token names a key that "
          "is not there; never more than once a minute."),
      conf::Declare("jwks_ssl_verify", &T::jwks_ssl_verify, conf::Boolean{},
                    "Its server's certificate is verified against the system's authorities."),
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

// Is a set of keys alone, as each of them has its algorithm?
Status CheckSetAlone(const JwtAuth::CredentialConfig& config) {
  if (config.secret.empty() && config.public_key.empty() && !config.algorithm &&
      (config.jwks.empty() || config.jwks_uri.empty())) {
    return {};
  }
  return GatewayError(ErrorCode::kInvalidConfig,
                      "expected neither \"secret\" nor \"public_key\" nor \"algorithm\" beside "
                      "\"jwks\" or \"jwks_uri\", and one of these");
}

}  // namespace

std::unique_ptr<Credential> JwtAuth::MakeCredential(const conf::Place& place) {
  auto read = ReadCredential(place, CredentialFields());
  if (!read) return nullptr;
  CredentialConfig& config = *read;
  auto issuer = std::make_unique<Issuer>();
  issuer->leeway = seconds(config.lifetime_grace_period);
  const bool has_set = !config.jwks.empty() || !config.jwks_uri.empty();
  if (const Status alone = CheckSetAlone(config); has_set && !alone.has_value()) {
    return place.Fail(alone.error().detail), nullptr;
  }
  if (!config.jwks_uri.empty()) {
    issuer->remote = {.name = config.jwks_uri + (config.jwks_ssl_verify ? "" : " (unverified)"),
                      .url = ServiceUrl::Make(config.jwks_uri).value(),
                      .node = place.node.Find("jwks_uri"),
                      .refresh = seconds(config.jwks_refresh)};
  } else if (!config.jwks.empty()) {
    auto keys = JwkSet::Make(config.jwks);
    if (!keys.has_value()) return place.Fail(keys.error().detail), nullptr;
    issuer->keys = std::make_shared<const JwkSet>(*std::move(keys));
  } else {
    auto key = ReadKey(config);
    if (!key.has_value()) return place.Fail(key.error().detail), nullptr;
    issuer->one_key = std::make_shared<const JwsKey>(*std::move(key));
  }
  issuer->key = std::move(config.key);
  return issuer;
}

void JwtAuth::FindUpstreams(const conf::Place& plugin, conf::UpstreamSink& sink) {
  const conf::Node* const uri = plugin.node.is_map() ? plugin.node.Find("jwks_uri") : nullptr;
  if (uri == nullptr || !uri->is_string()) return;
  const auto url = ServiceUrl::Make(uri->text);
  if (!url.has_value()) return;
  conf::UpstreamConfig upstream = url->Upstream();
  const conf::Node* const verify = plugin.node.Find("jwks_ssl_verify");
  upstream.tls.verify =
      verify == nullptr || verify->kind != conf::Node::Kind::kBool || verify->boolean;
  upstream.tls.path = plugin.Path();
  upstream.tls.position = upstream.position = uri->position;
  const conf::Place place{*uri, plugin.diagnostics, &plugin, "jwks_uri"};
  sink.Add(place, std::move(upstream));
}

JwtAuth::JwtAuth(Config config, Authentication authentication, const CredentialIndex& issuers,
                 const Upstreams* upstreams)
    : config_(std::move(config)),
      places_({.header = config_.header, .query = config_.query, .cookie = config_.cookie},
              CredentialPlaces::Form::kBearer),
      authentication_(std::move(authentication)),
      issuers_(issuers),
      upstreams_(upstreams),
      rules_(RulesOf(config_)),
      rules_hash_(HashOfRules(config_, rules_)) {}

std::unique_ptr<const Plugin> JwtAuth::Make(Config config, const PluginBuild& build) {
  auto authentication = Authentication::Make(config, "Bearer", build);
  if (!authentication) return nullptr;
  return std::make_unique<JwtAuth>(std::move(config), *std::move(authentication),
                                   *build.credentials, build.upstreams);
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
  const auto presented = authentication_.Take(request, places_, "JWT token");
  return presented.verdict ? *presented.verdict : Check(request, presented.value);
}

const JwtAuth::Issuer* JwtAuth::FindKnown(const Hash128& name, MonoTime now) const {
  const auto known = KnownTokens().Find(name, Seconds(WallNow()));
  if (!known) return nullptr;
  const auto* const issuer = static_cast<const Issuer*>(issuers_.Find(known->subject));
  return issuer != nullptr && issuer->Knows(known->proof, now) ? issuer : nullptr;
}

Verdict JwtAuth::Check(RequestContext& request, std::string_view token) const {
  if (token.size() > Jwt::kMaxBytes) return Refuse(request, kInvalid, "too long");
  const Hash128 name = VerifiedTokens::NameOf(token, rules_hash_);
  if (const Issuer* const issuer = FindKnown(name, request.services().now())) {
    KeepFresh(request, *issuer);
    return authentication_.Accept(request, *issuer);
  }
  const Reading reading = Read(request, token, name);
  return reading.refusal ? *reading.refusal : FindKey(request, token, reading.claimant);
}

// The token stays in Parser().
JwtAuth::Reading JwtAuth::Read(RequestContext& request, std::string_view token,
                               const Hash128& name) const {
  const auto refuse = [&](std::string_view message, std::string_view detail) {
    return Reading{{}, Refuse(request, message, detail)};
  };
  Jwt& jwt = Parser();
  if (const Status parsed = jwt.Parse(token); !parsed.has_value()) {
    return refuse(kInvalid, parsed.error().detail);
  }
  const FlatJson::Value* const key_claim = jwt.claims().Find(config_.key_claim_name);
  if (key_claim == nullptr) return refuse("missing user key in JWT token", "no claim");
  const Hash128 subject = CredentialIndex::HashOf(key_claim->text);
  const auto* const issuer = key_claim->kind == FlatJson::Kind::kString
                                 ? static_cast<const Issuer*>(issuers_.Find(subject))
                                 : nullptr;
  if (issuer == nullptr) return refuse("Invalid user key in JWT token", key_claim->text);
  ClaimRules rules = rules_;
  rules.leeway = issuer->leeway;
  const auto valid = CheckClaims(jwt.claims(), rules, WallNow());
  if (!valid.has_value()) return refuse(kNotVerified, valid.error().detail);
  return {{.issuer = issuer, .subject = subject, .valid = *valid, .token = name}, std::nullopt};
}

// --- keys ----------------------------------------------------------------------------------------

Verdict JwtAuth::FindKey(RequestContext& request, std::string_view token,
                         const Claimant& claimant) const {
  const Issuer& issuer = *claimant.issuer;
  if (!issuer.remote) return Verify(request, token, claimant, nullptr);
  const MonoTime now = request.services().now();
  RemoteKeys& remote = *RemoteKeys::Of(issuer.remote->name, now);
  const bool missing = issuer.KeyFor(Parser(), now) == nullptr;
  if (remote.may_fetch(now) && missing) return WaitForKeys(request, token, claimant);
  KeepFresh(request, issuer);
  return Verify(request, token, claimant, nullptr);
}

// Keys that are old are fetched again beside the requests; what is there is good until others have
// come. Also where all tokens are known: a key may have been withdrawn.
void JwtAuth::KeepFresh(RequestContext& request, const Issuer& issuer) const {
  if (!issuer.remote) return;
  const MonoTime now = request.services().now();
  RemoteKeys& remote = *RemoteKeys::Of(issuer.remote->name, now);
  if (!remote.is_under_way() && remote.may_fetch(now) &&
      remote.is_older_than(issuer.remote->refresh, now)) {
    static_cast<void>(remote.Begin(FetchFor(request, issuer), nullptr));
  }
}

RemoteKeys::Fetch JwtAuth::FetchFor(RequestContext& request, const Issuer& issuer) const {
  SubRequest question;
  question.upstream = upstreams_->at(issuer.remote->node);
  question.target = issuer.remote->url.target;
  question.host = issuer.remote->url.authority;
  question.fields.emplace_back("Accept", "application/json");
  question.limit = kFetchLimit;
  question.most_body = JwkSet::kMaxBytes;
  return {std::move(question), request.sender(), request.services()};
}

Verdict JwtAuth::WaitForKeys(RequestContext& request, std::string_view token,
                             const Claimant& claimant) const {
  RemoteKeys& remote = *RemoteKeys::Of(claimant.issuer->remote->name, request.services().now());
  auto ticket = std::make_shared<Ticket>(request.Suspend(kFetchLimit + seconds(25)));
  // All of this lives as long as the request.
  const auto go_on = [this, ticket, token, claimant] {
    RequestContext* const waiting = ticket->request();
    if (waiting == nullptr) return;
    // Another token is in Parser() by now, and time has passed.
    const Reading again = Read(*waiting, token, claimant.token);
    const Verdict verdict =
        again.refusal ? *again.refusal : Verify(*waiting, token, again.claimant, ticket.get());
    if (verdict != Verdict::kSuspend) ticket->Resume(verdict);
  };
  if (remote.Begin(FetchFor(request, *claimant.issuer), go_on)) return Verdict::kSuspend;
  ticket->Resume(TooMany(request));
  return Verdict::kSuspend;
}

// The token is in Parser().
Verdict JwtAuth::Verify(RequestContext& request, std::string_view token, const Claimant& claimant,
                        Ticket* held) const {
  const Issuer* const issuer = claimant.issuer;
  const Jwt& jwt = Parser();
  const MonoTime now = request.services().now();
  std::shared_ptr<const JwsKey> key = issuer->KeyFor(jwt, now);
  if (key == nullptr) {
    if (issuer->remote && issuer->Keys(now) == nullptr)
      return request.ReplyMessage(503, kNotVerified);
    return Refuse(request, kNotVerified, "no key of that kid and alg");
  }
  // What can be said without the key's work, before somebody is given any.
  Status verified = key->CheckForm(jwt);
  if (!verified.has_value()) return Refuse(request, kNotVerified, verified.error().detail);

  const auto remember = [name = claimant.token,
                         entry = VerifiedTokens::Entry{.subject = claimant.subject,
                                                       .proof = issuer->ProofBy(*key),
                                                       .from = claimant.valid.from,
                                                       .until = claimant.valid.until}] {
    KnownTokens().Insert(name, entry);
  };
  const auto decide = [this, issuer](RequestContext& asked, const Status& outcome) {
    return outcome.has_value() ? authentication_.Accept(asked, *issuer)
                               : Refuse(asked, kNotVerified, outcome.error().detail);
  };
  if (!key->is_slow()) {
    verified = key->Verify(jwt);
    if (verified.has_value()) remember();
    return decide(request, verified);
  }
  return VerifyOffLoop(request,
                       {.verify =
                            [key = std::move(key), copy = std::string(token)] {
                              Jwt own;
                              const Status parsed = own.Parse(copy);
                              return parsed.has_value() ? key->Verify(own) : parsed;
                            },
                        .remember = remember,
                        .decide = decide},
                       held);
}

}  // namespace sluice::plugins
