#include "plugins/referer_restriction.h"

#include <algorithm>

#include "gateway/base/text.h"
#include "gateway/http/hygiene.h"
#include "gateway/http/uri.h"
#include "gateway/plugin/registration.h"
#include "plugins/support/alternatives.h"

namespace sluice::plugins {

SLUICE_PLUGIN(RefererRestriction);

namespace {

bool IsHostPattern(std::string_view text) {
  if (text == "*") return true;
  if (text.starts_with('*')) text.remove_prefix(1);
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return IsDigit(c) || (AsciiLower(c) >= 'a' && AsciiLower(c) <= 'z') ||
           std::string_view("-._[]:").find(c) != std::string_view::npos;
  });
}

conf::ListOf<conf::TextLike> Hosts() {
  return {.item = {"a host, perhaps with an asterisk in front",
                   IsHostPattern,
                   "^\\*$|^\\*?[0-9a-zA-Z-._\\[\\]:]+$",
                   {1, 260}},
          .min = 1,
          .unique = false,
          .max = 10'000};
}

// Of an http or https URI, lower case and without port; nullopt: it is none, or has userinfo, which
// a Referer must not have (RFC 9110 10.1.3) and which could make one host look like another.
std::optional<std::string_view> HostOf(std::string_view uri, Arena& arena) {
  const size_t colon = uri.find("://");
  if (colon == std::string_view::npos) return std::nullopt;
  const std::string_view scheme = uri.substr(0, colon);
  if (!EqualsIgnoreCase(scheme, "http") && !EqualsIgnoreCase(scheme, "https")) return std::nullopt;
  const std::string_view rest = uri.substr(colon + 3);
  const std::string_view authority = rest.substr(0, rest.find_first_of("/?#\\"));
  if (authority.empty() || !IsValidAuthority(authority)) return std::nullopt;
  return NormalizeHost(authority, arena);
}

}  // namespace

const conf::Fields<RefererRestriction::Config>& RefererRestriction::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = {
      conf::Declare("bypass_missing", &T::bypass_missing, conf::Boolean{},
                    "Requests pass whose Referer is missing or malformed."),
      conf::Declare("whitelist", &T::whitelist, Hosts(),
                    "Hosts of which requests may come. `*.example.com` stands for its subdomains. "
                    "Either this or `blacklist`."),
      conf::Declare("blacklist", &T::blacklist, Hosts(), "Hosts of which requests are refused."),
      conf::Declare("message", &T::message, conf::Text{1, 1024}, "Of the refusal."),
  };
  return kFields;
}

std::unique_ptr<const Plugin> RefererRestriction::Make(Config config, const PluginBuild& build) {
  if (!HasExactlyOne(build.place, {"whitelist", "blacklist"})) return nullptr;
  auto plugin = std::make_unique<RefererRestriction>();
  plugin->listed_pass_ = !config.whitelist.empty();
  for (const std::string& host : plugin->listed_pass_ ? config.whitelist : config.blacklist) {
    const std::string lower = ToLower(host);
    lower.starts_with('*') ? plugin->suffixes_.push_back(lower.substr(1))
                           : plugin->hosts_.push_back(lower);
  }
  std::sort(plugin->hosts_.begin(), plugin->hosts_.end());
  plugin->missing_passes_ = config.bypass_missing;
  plugin->message_ = std::move(config.message);
  return plugin;
}

bool RefererRestriction::IsListed(std::string_view host) const {
  return std::binary_search(hosts_.begin(), hosts_.end(), host) ||
         std::any_of(suffixes_.begin(), suffixes_.end(),
                     [host](const std::string& suffix) { return host.ends_with(suffix); });
}

bool RefererRestriction::MayPass(RequestContext& request) const {
  const HeaderField* const referer = request.head().fields.Find(HeaderId::kReferer);
  if (referer == nullptr) return missing_passes_;
  const auto host = HostOf(referer->value, request.arena());
  return host ? IsListed(*host) == listed_pass_ : missing_passes_;
}

Verdict RefererRestriction::OnAccess(RequestContext& request) const {
  return MayPass(request) ? Verdict::kContinue : request.ReplyMessage(403, message_);
}

}  // namespace sluice::plugins
