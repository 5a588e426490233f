#include "plugins/support/jwk.h"

#include <algorithm>
#include <utility>

#include "conf/config_tree.h"
#include "gateway/base/base64.h"

namespace sluice::plugins {
namespace {

using conf::Node;

constexpr conf::TreeLimits kLimits{.bytes = JwkSet::kMaxBytes, .nodes = 10'000, .depth = 16};

Error Bad(std::string detail) {
  return GatewayError(ErrorCode::kInvalidConfig, "JWK: " + std::move(detail));
}

// The text of a member; empty when it is not there or not text.
std::string_view Text(const Node& key, std::string_view name) {
  const Node* const node = key.Find(name);
  return node != nullptr && node->is_string() ? std::string_view(node->text) : std::string_view();
}

Result<std::string> Bytes(const Node& key, std::string_view name) {
  auto bytes = DecodeBase64(Text(key, name), Base64::kUrl);
  if (!bytes || bytes->empty()) {
    return Bad("expected " + std::string(name) + " in base64url without padding");
  }
  return *std::move(bytes);
}

// Is the key meant for verifying (RFC 7517, sections 4.2 and 4.3)?
bool IsForVerifying(const Node& key) {
  if (const Node* const use = key.Find("use"); use != nullptr && use->text != "sig") return false;
  const Node* const operations = key.Find("key_ops");
  return operations == nullptr ||
         std::any_of(operations->items.begin(), operations->items.end(),
                     [](const Node& operation) { return operation.text == "verify"; });
}

Result<JwsKey> ReadRsa(const Node& key, JwsAlgorithm algorithm) {
  SLUICE_ASSIGN_OR_RETURN(const std::string n, Bytes(key, "n"));
  SLUICE_ASSIGN_OR_RETURN(const std::string e, Bytes(key, "e"));
  return JwsKey::FromRsa(algorithm, n, e);
}

Result<JwsKey> ReadEc(const Node& key, JwsAlgorithm algorithm) {
  SLUICE_ASSIGN_OR_RETURN(const std::string x, Bytes(key, "x"));
  SLUICE_ASSIGN_OR_RETURN(const std::string y, Bytes(key, "y"));
  return JwsKey::FromEc(algorithm, x, y);
}

bool StartsWithAny(std::string_view name, std::string_view a, std::string_view b) {
  return name.starts_with(a) || name.starts_with(b);
}

Result<JwsKey> ReadKey(const Node& key, JwsAlgorithm rsa) {
  if (!key.is_map()) return Bad("expected an object");
  if (!IsForVerifying(key)) return Bad("expected a key for signatures (use, key_ops)");
  const std::string_view type = Text(key, "kty");
  const std::string_view curve = Text(key, "crv");
  std::string_view expected;  // the algorithm that follows from the type
  if (type == "RSA") expected = JwsAlgorithmName(rsa);
  if (type == "EC" && curve == "P-256") expected = "ES256";
  if (type == "EC" && curve == "P-384") expected = "ES384";
  if (type == "EC" && curve == "P-521") expected = "ES512";
  if (type == "OKP") expected = "EdDSA";
  if (expected.empty()) {
    return Bad("expected RSA, EC with P-256, P-384 or P-521, or OKP; got " +
               (type.empty() ? "no kty" : std::string(type) + " " + std::string(curve)));
  }
  const bool named = key.Find("alg") != nullptr;
  const std::string_view name = named ? Text(key, "alg") : expected;
  const bool fits = type == "RSA" ? StartsWithAny(name, "RS", "PS") : name == expected;
  const auto algorithm = ParseJwsAlgorithm(name);
  if (!fits || !algorithm) {
    return Bad("expected an alg for a key of " + std::string(type) + " " + std::string(curve) +
               ", got \"" + std::string(name) + "\"");
  }
  if (type == "RSA") return ReadRsa(key, *algorithm);
  if (type == "EC") return ReadEc(key, *algorithm);
  SLUICE_ASSIGN_OR_RETURN(const std::string x, Bytes(key, "x"));
  return JwsKey::FromEd(curve, x);
}

}  // namespace

Result<JwkSet> JwkSet::Make(std::string_view json, JwsAlgorithm rsa) {
  conf::Diagnostics diagnostics;
  const Node root = conf::ParseJson(json, diagnostics.AddSource("JWK", {}), diagnostics, kLimits);
  if (!diagnostics.empty()) {
    const conf::Diagnostic& first = diagnostics.list().front();
    return Bad("line " + std::to_string(first.position.line) + ": " + first.message);
  }
  const Node* const list = root.Find("keys");
  if (!root.is_map() || (list != nullptr && !list->is_list())) {
    return Bad("expected an object with a list \"keys\", or one key");
  }
  const size_t count = list == nullptr ? 1 : list->items.size();
  if (count > kMaxKeys) {
    return Bad("expected at most " + std::to_string(kMaxKeys) + " keys, got " +
               std::to_string(count));
  }
  JwkSet set;
  for (size_t i = 0; i < count; ++i) {
    const Node& node = list == nullptr ? root : list->items[i];
    auto key = ReadKey(node, rsa);
    if (key.has_value()) {
      set.keys_.push_back({std::string(Text(node, "kid")), *std::move(key)});
    } else {
      set.skipped_.push_back("key " + std::to_string(i + 1) + ": " + key.error().detail);
    }
  }
  if (!set.keys_.empty()) return set;
  return Bad("expected at least one key that verifies tokens, got " +
             (set.skipped_.empty() ? "none" : set.skipped_.front()));
}

const JwsKey* JwkSet::Find(const Jwt& token) const {
  const JwsKey* found = nullptr;
  for (const Key& key : keys_) {
    if (JwsAlgorithmName(key.key.algorithm()) != token.algorithm()) continue;
    if (token.key_id()) {
      if (key.id == *token.key_id()) return &key.key;
    } else if (found != nullptr) {
      return nullptr;  // which of them, nobody said
    } else {
      found = &key.key;
    }
  }
  return found;
}

}  // namespace sluice::plugins
