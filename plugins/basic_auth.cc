#include "plugins/basic_auth.h"

#include <optional>

#include "gateway/base/base64.h"
#include "gateway/base/text.h"
#include "gateway/plugin/registration.h"
#include "plugins/support/off_loop.h"
#include "plugins/support/password_hash.h"
#include "plugins/support/verified_tokens.h"

namespace sluice::plugins {

SLUICE_PLUGIN(BasicAuth);

namespace {

constexpr std::string_view kInvalidUser = "Invalid user authorization";

// Passwords that matched their hash, so that a client is not asked to wait for each request; of
// this worker, on its loop thread. They are verified again from time to time, so that the table
// holds those in use.
VerifiedTokens& KnownPasswords() {
  static VerifiedTokens known(4096);
  return known;
}
constexpr int64_t kKnownFor = 300;  // seconds

int64_t Seconds() { return std::chrono::floor<seconds>(WallNow()).time_since_epoch().count(); }

// "name:password" of an Authorization field; nothing when it has another form.
std::optional<std::string> Decode(std::string_view field) {
  constexpr std::string_view kBasic = "Basic ";
  if (!EqualsIgnoreCase(field.substr(0, kBasic.size()), kBasic)) return std::nullopt;
  auto pair = DecodeBase64(TrimOws(field.substr(kBasic.size())), Base64::kStandard);
  if (!pair || pair->find(':') == std::string::npos) return std::nullopt;
  return pair;
}

}  // namespace

struct BasicAuth::User : Credential {
  Hash128 password;           // without a hash
  std::string password_hash;  // empty: `password`
  Hash128 identity;           // of the hash and the name: what a known password belongs to
};

const conf::Fields<BasicAuth::Config>& BasicAuth::Fields() {
  static const conf::Fields<Config> kFields = [] {
    conf::Fields<Config> fields;
    AddAuthenticationFields(fields);
    return fields;
  }();
  return kFields;
}

const conf::Fields<BasicAuth::CredentialConfig>& BasicAuth::CredentialFields() {
  using T = CredentialConfig;
  static const conf::Fields<T> kFields = {
      conf::Required(conf::Declare("username", &T::username, conf::Text{1, 1024},
                                   "The name that clients give; without \":\".")),
      conf::Declare("password", &T::password, conf::Text{1, 1024}, "The password."),
      conf::Declare("password_hash", &T::password_hash, conf::Text{1, 512},
                    "In place of `password`: its hash by crypt(3) in bcrypt, SHA-512, SHA-256 or "
                    "yescrypt, such as `openssl passwd -6` writes it."),
  };
  return kFields;
}

std::unique_ptr<Credential> BasicAuth::MakeCredential(const conf::Place& place) {
  auto read = ReadCredential(place, CredentialFields());
  if (!read) return nullptr;
  CredentialConfig& config = *read;
  if (config.username.find(':') != std::string::npos) {
    place.Fail("expected a username without \":\", which ends it (RFC 7617)");
    return nullptr;
  }
  if (config.password.empty() == config.password_hash.empty()) {
    place.Fail("expected either \"password\" or \"password_hash\"");
    return nullptr;
  }
  auto user = std::make_unique<User>();
  if (config.password_hash.empty()) {
    user->password = KeyedHash::OfProcess().Of(config.password);
  } else if (const Status checked = CheckPasswordHash(config.password_hash); !checked.has_value()) {
    place.Fail("password_hash: " + checked.error().detail);
    return nullptr;
  }
  user->identity =
      KeyedHash::OfProcess().Of(KeyedHash::OfProcess().Of(config.username), config.password_hash);
  user->key = std::move(config.username);
  user->password_hash = std::move(config.password_hash);
  return user;
}

std::unique_ptr<const Plugin> BasicAuth::Make(const Config& config, const PluginBuild& build) {
  auto authentication = Authentication::Make(config, "Basic", build);
  if (!authentication) return nullptr;
  return std::make_unique<BasicAuth>(*std::move(authentication), *build.credentials);
}

Verdict BasicAuth::OnRewrite(RequestContext& request) const {
  const HeaderList& fields = request.head().fields;
  if (!fields.Has(HeaderId::kAuthorization)) {
    return authentication_.Refuse(request, "Missing authorization in request");
  }
  std::optional<std::string> pair;
  if (fields.Count(HeaderId::kAuthorization) == 1) {
    pair = Decode(fields.Value(HeaderId::kAuthorization));
  }
  // $remote_user is still in there.
  const std::string user = pair ? pair->substr(0, pair->find(':')) : std::string();
  request.HideHeaderInLogs(
      "Authorization", pair ? "Basic " + EncodeBase64(user + ":***", Base64::kStandard) : "***");
  if (authentication_.hides_credentials()) request.RemoveHeader("Authorization");
  if (!pair) return authentication_.Refuse(request, "Invalid authorization in request");
  return Check(request, user, pair->substr(user.size() + 1));
}

// Where names are known whose passwords are hashed, one that nobody has is verified too, against
// the hash of one that somebody has, and in vain: the time does not tell who is a user.
Verdict BasicAuth::Check(RequestContext& request, std::string_view name,
                         std::string password) const {
  const Hash128 name_hash = CredentialIndex::HashOf(name);
  const Credential* const found = users_.Find(name_hash);
  const bool is_user = found != nullptr;
  const auto* const user = static_cast<const User*>(is_user ? found : users_.Sample(name_hash));
  if (user == nullptr) return authentication_.Refuse(request, kInvalidUser);
  if (!user->password_hash.empty()) return CheckHash(request, *user, is_user, std::move(password));
  // Hashes under a secret key: how long this takes does not depend on where they differ.
  const bool matches = KeyedHash::OfProcess().Of(password) == user->password;
  return matches && is_user ? authentication_.Accept(request, *user)
                            : authentication_.Refuse(request, kInvalidUser);
}

Verdict BasicAuth::CheckHash(RequestContext& request, const User& user, bool is_user,
                             std::string password) const {
  const Hash128 name = VerifiedTokens::NameOf(password, user.identity);
  if (is_user && KnownPasswords().Find(name, Seconds())) {
    return authentication_.Accept(request, user);
  }
  return VerifyOffLoop(
      request,
      {.verify = [is_user, password = std::move(password), hash = user.password_hash]() -> Status {
         if (MatchesPasswordHash(password, hash) && is_user) return {};
         return ClientError(ErrorCode::kMalformedRequest, "the password does not match its hash");
       },
       .remember =
           [name] {
             const int64_t now = Seconds();
             KnownPasswords().Insert(name, {.from = now, .until = now + kKnownFor});
           },
       .decide =
           [this, &user](RequestContext& held, const Status& verified) {
             return verified.has_value() ? authentication_.Accept(held, user)
                                         : authentication_.Refuse(held, kInvalidUser);
           }});
}

}  // namespace sluice::plugins
