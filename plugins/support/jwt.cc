#include "plugins/support/jwt.h"

#include <algorithm>
#include <utility>

#include "gateway/base/base64.h"
#include "gateway/base/text.h"

namespace sluice::plugins {
namespace {

using Kind = FlatJson::Kind;

constexpr std::array<std::string_view, 13> kAlgorithmNames = {
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256",
    "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"};

// Later than any exp that is meant, and far from where adding a leeway overflows.
constexpr int64_t kLastSecond = int64_t{1} << 53;

Error Refused(std::string detail) {
  return ClientError(ErrorCode::kMalformedRequest, "token: " + std::move(detail));
}

// Some of a client's text, for the log: its length is the client's choice.
std::string Quoted(std::string_view text) {
  return text.size() <= 64 ? "\"" + std::string(text) + "\""
                           : "\"" + std::string(text.substr(0, 64)) + "\"...";
}

std::string Describe(const FlatJson::Value& value) {
  if (value.kind == Kind::kString) return Quoted(value.text);
  if (value.kind == Kind::kInteger) return std::to_string(value.integer);
  return std::string(KindName(value.kind));
}

}  // namespace

std::optional<JwsAlgorithm> ParseJwsAlgorithm(std::string_view name) {
  const auto* const at = std::find(kAlgorithmNames.begin(), kAlgorithmNames.end(), name);
  if (at == kAlgorithmNames.end()) return std::nullopt;
  return static_cast<JwsAlgorithm>(at - kAlgorithmNames.begin());
}

std::string_view JwsAlgorithmName(JwsAlgorithm algorithm) {
  return kAlgorithmNames[static_cast<size_t>(algorithm)];
}

// Decoding writes up to three bytes more than it keeps, and each JSON text is followed by NUL.
Jwt::Jwt() : buffer_(std::make_unique<char[]>(Base64DecodedLimit(kMaxBytes) + 16)) {}

Status Jwt::Parse(std::string_view token) {
  used_ = 0;
  key_id_.reset();
  algorithm_ = signing_input_ = signature_ = {};
  if (token.size() > kMaxBytes) {
    return Refused("expected at most " + std::to_string(kMaxBytes) + " bytes, got " +
                   std::to_string(token.size()));
  }
  const auto dots = std::count(token.begin(), token.end(), '.');
  if (dots != 2) {
    return Refused("expected header.claims.signature, got " + std::to_string(dots + 1) +
                   (dots == 4 ? " parts (an encrypted token?)" : " parts"));
  }
  const size_t first = token.find('.');
  const size_t second = token.rfind('.');
  SLUICE_TRY(ReadHeader(token.substr(0, first)));
  SLUICE_TRY(ReadClaims(token.substr(first + 1, second - first - 1)));
  const auto signature =
      DecodeBase64(token.substr(second + 1), Base64::kUrl,
                   {buffer_.get() + used_, Base64DecodedLimit(token.size() - second - 1)});
  if (!signature) return Refused("expected a signature in base64url without padding");
  if (signature->empty()) return Refused("expected a signature, got none");
  signature_ = *signature;
  signing_input_ = token.substr(0, second);
  return {};
}

Status Jwt::ReadHeader(std::string_view part) {
  if (part.size() > kMaxHeaderBytes) {
    return Refused("expected a header of at most " + std::to_string(kMaxHeaderBytes) +
                   " bytes, got " + std::to_string(part.size()));
  }
  char* const text = buffer_.get() + used_;
  const auto json = DecodeBase64(part, Base64::kUrl, {text, Base64DecodedLimit(part.size())});
  if (!json) return Refused("expected a header in base64url without padding");
  text[json->size()] = '\0';
  used_ += json->size() + 1;
  const Status parsed = header_.Parse(text, json->size());
  if (!parsed.has_value()) return Refused("header: " + parsed.error().detail);
  return CheckHeader();
}

Status Jwt::ReadClaims(std::string_view part) {
  char* const text = buffer_.get() + used_;
  const auto json = DecodeBase64(part, Base64::kUrl, {text, Base64DecodedLimit(part.size())});
  if (!json) return Refused("expected claims in base64url without padding");
  text[json->size()] = '\0';
  used_ += json->size() + 1;
  const Status parsed = claims_.Parse(text, json->size());
  if (!parsed.has_value()) return Refused("claims: " + parsed.error().detail);
  return {};
}

Status Jwt::CheckHeader() {
  for (const char* name : {"alg", "kid", "typ", "cty"}) {
    const FlatJson::Value* const value = header_.Find(name);
    if (value != nullptr && value->kind != Kind::kString) {
      return Refused("header: expected " + std::string(name) + " to be text, got " +
                     Describe(*value));
    }
  }
  const FlatJson::Value* const algorithm = header_.Find("alg");
  if (algorithm == nullptr) return Refused("header: expected alg, got none");
  algorithm_ = algorithm->text;
  // crit names what must be understood (RFC 7515, 4.1.11), and nothing of that kind is. b64 (RFC
  // 7797) is only allowed with it; taking it lightly was CVE-2026-29000.
  for (const char* name : {"crit", "b64", "enc", "zip"}) {
    if (header_.Find(name) != nullptr) {
      return Refused("header: expected no " + std::string(name) + ", which is not supported");
    }
  }
  const FlatJson::Value* const content = header_.Find("cty");
  if (content != nullptr && (EqualsIgnoreCase(content->text, "JWT") ||
                             EqualsIgnoreCase(content->text, "application/jwt"))) {
    return Refused("header: expected claims, got a token within a token (cty)");
  }
  if (const FlatJson::Value* const id = header_.Find("kid")) key_id_ = id->text;
  return {};
}

namespace {

// The claim `name` in seconds; nothing when it is not there and need not be.
Result<std::optional<int64_t>> ReadTime(const FlatJson& claims, const char* name,
                                        ClaimRules::Need need) {
  if (need == ClaimRules::Need::kIgnored) return std::optional<int64_t>();
  const FlatJson::Value* const value = claims.Find(name);
  if (value == nullptr) {
    if (need == ClaimRules::Need::kIfPresent) return std::optional<int64_t>();
    return Refused("expected the claim " + std::string(name) + ", got none");
  }
  if (value->kind != Kind::kInteger || value->integer < 0 || value->integer > kLastSecond) {
    return Refused("expected " + std::string(name) + " in whole seconds since 1970, got " +
                   Describe(*value));
  }
  return std::optional<int64_t>(value->integer);
}

bool IsOneOf(const FlatJson::Value& value, std::span<const std::string> allowed) {
  return value.kind == Kind::kString &&
         std::find(allowed.begin(), allowed.end(), value.text) != allowed.end();
}

Status CheckIssuer(const FlatJson& claims, std::span<const std::string> allowed) {
  if (allowed.empty()) return {};
  const FlatJson::Value* const issuer = claims.Find("iss");
  if (issuer == nullptr) return Refused("expected the claim iss, got none");
  if (IsOneOf(*issuer, allowed)) return {};
  return Refused("expected iss to be " + Quoted(allowed.front()) +
                 (allowed.size() > 1 ? " or another of those configured" : "") + ", got " +
                 Describe(*issuer));
}

// One text, or a list of texts of which one is enough (RFC 7519, 4.1.3).
Status CheckAudience(const FlatJson& claims, std::span<const std::string> allowed) {
  if (allowed.empty()) return {};
  const FlatJson::Value* const audience = claims.Find("aud");
  if (audience == nullptr) return Refused("expected the claim aud, got none");
  bool found = IsOneOf(*audience, allowed);
  if (audience->kind == Kind::kList) {
    const FlatJson::Value* at = claims.First(*audience);
    for (; at != nullptr; at = claims.Next(*audience, *at)) {
      if (at->kind != Kind::kString) {
        return Refused("expected aud to hold texts, got " + Describe(*at));
      }
      found = found || IsOneOf(*at, allowed);
    }
  }
  if (found) return {};
  return Refused("expected aud to name " + Quoted(allowed.front()) +
                 (allowed.size() > 1 ? " or another of those configured" : "") + ", got " +
                 Describe(*audience));
}

}  // namespace

Result<ValidTime> CheckClaims(const FlatJson& claims, const ClaimRules& rules, WallTime now) {
  const int64_t second = std::chrono::floor<seconds>(now).time_since_epoch().count();
  const int64_t leeway = std::clamp<int64_t>(rules.leeway.count(), 0, kLastSecond);
  ValidTime valid;
  SLUICE_ASSIGN_OR_RETURN(const auto expiry, ReadTime(claims, "exp", rules.expiry));
  SLUICE_ASSIGN_OR_RETURN(const auto not_before, ReadTime(claims, "nbf", rules.not_before));
  if (expiry) valid.until = *expiry + leeway;
  if (not_before) valid.from = *not_before - leeway;
  if (second >= valid.until) {
    return Refused("expected exp after " + std::to_string(second - leeway) + ", got " +
                   std::to_string(*expiry));
  }
  if (second < valid.from) {
    return Refused("expected nbf up to " + std::to_string(second + leeway) + ", got " +
                   std::to_string(*not_before));
  }
  SLUICE_TRY(CheckIssuer(claims, rules.issuers));
  SLUICE_TRY(CheckAudience(claims, rules.audiences));
  return valid;
}

}  // namespace sluice::plugins
