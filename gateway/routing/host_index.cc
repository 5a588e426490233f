#include "gateway/routing/host_index.h"

#include <algorithm>

#include "gateway/http/uri.h"

namespace sluice {

namespace {

Error BadHost(std::string_view pattern, std::string_view reason) {
  return GatewayError(ErrorCode::kInvalidConfig,
                      "expected a host as example.com or *.example.com, got \"" +
                          std::string(pattern) + "\": " + std::string(reason));
}

bool HasPort(std::string_view host) {
  const size_t colon = host.rfind(':');
  return colon != std::string_view::npos && (host.front() != '[' || colon > host.find(']'));
}

}  // namespace

Result<uint32_t> HostIndex::Add(std::string_view pattern) {
  const bool is_wildcard = !pattern.empty() && pattern.front() == '*';
  const std::string_view text = pattern.substr(is_wildcard ? 1 : 0);
  if (pattern.empty()) return BadHost(pattern, "it is empty");
  if (pattern.size() > kMaxHost) return BadHost(pattern, "it is longer than 255 bytes");
  if (text.find('*') != std::string_view::npos) {
    return BadHost(pattern, "a \"*\" may stand only at the beginning");
  }
  if (!text.empty() && HasPort(text)) {
    return BadHost(pattern,
                   "hosts are compared without port (a port can be compared by vars, as in "
                   "[[\"http_host\", \"==\", \"example.com:8080\"]])");
  }
  const std::string_view host = text.empty() ? text : NormalizeHost(text, texts_);
  if (const uint32_t known = Find(host, is_wildcard); known != kNone) return known;

  const auto number = static_cast<uint32_t>(patterns_.size());
  patterns_.push_back(texts_.Copy(std::string(is_wildcard ? "*" : "").append(host)));
  (is_wildcard ? wildcards_ : exact_).Insert(HashIndex::Hash(host), number);
  if (is_wildcard) suffixes_.set(host.size());
  return number;
}

uint32_t HostIndex::Find(std::string_view text, bool is_wildcard) const {
  return (is_wildcard ? wildcards_ : exact_).Find(HashIndex::Hash(text), [&](uint32_t number) {
    return patterns_[number].substr(is_wildcard ? 1 : 0) == text;
  });
}

uint32_t HostIndex::Cursor::Next() {
  if (stage_ == Stage::kExact) {
    stage_ = index_.suffixes_.any() ? Stage::kWildcards : Stage::kAny;
    suffix_ = std::min(host_.size(), kMaxHost) + 1;
    const uint32_t number = host_.empty() ? kNone : index_.Find(host_, false);
    if (number != kNone) return number;
  }
  while (stage_ == Stage::kWildcards) {
    if (suffix_ == 0) {
      stage_ = Stage::kAny;
      break;
    }
    --suffix_;
    if (!index_.suffixes_[suffix_]) continue;
    const uint32_t number = index_.Find(host_.substr(host_.size() - suffix_), true);
    if (number != kNone) return number;
  }
  if (stage_ == Stage::kDone) return kNone;
  stage_ = Stage::kDone;
  return kAnyHost;
}

}  // namespace sluice
