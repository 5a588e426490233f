#include "plugins/ua_restriction.h"

#include <algorithm>

#include "gateway/plugin/registration.h"
#include "plugins/support/alternatives.h"

namespace sluice::plugins {

SLUICE_PLUGIN(UaRestriction);

const conf::Fields<UaRestriction::Config>& UaRestriction::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = {
      conf::Declare("bypass_missing", &T::bypass_missing, conf::Boolean{},
                    "Requests without User-Agent pass."),
      conf::Declare("allowlist", &T::allowlist, Patterns(),
                    "Regular expressions of which one must match. Either this or `denylist`."),
      conf::Declare("denylist", &T::denylist, Patterns(),
                    "Regular expressions of which none may match."),
      conf::Declare("message", &T::message, conf::Text{1, 1024}, "Of the refusal."),
  };
  return kFields;
}

std::unique_ptr<const Plugin> UaRestriction::Make(Config config, const PluginBuild& build) {
  if (!HasExactlyOne(build.place, {"allowlist", "denylist"})) return nullptr;
  auto plugin = std::make_unique<UaRestriction>();
  plugin->patterns_pass_ = !config.allowlist.empty();
  plugin->patterns_ =
      plugin->patterns_pass_
          ? PatternList::Make(config.allowlist, Regex::Case::kSensitive, build.place, "allowlist")
          : PatternList::Make(config.denylist, Regex::Case::kSensitive, build.place, "denylist");
  plugin->missing_passes_ = config.bypass_missing;
  plugin->message_ = std::move(config.message);
  return plugin;
}

// The field may stand there once only; of several each has to pass, as nobody knows which one the
// upstream takes. A pattern that gave up speaks against the request.
bool UaRestriction::MayPass(const HeaderList& fields) const {
  if (!fields.Has(HeaderId::kUserAgent)) return missing_passes_;
  return std::all_of(fields.begin(), fields.end(), [this](const HeaderField& field) {
    if (field.id != HeaderId::kUserAgent) return true;
    const Regex::Outcome outcome = patterns_.Search(field.value);
    return outcome == (patterns_pass_ ? Regex::Outcome::kMatch : Regex::Outcome::kNoMatch);
  });
}

Verdict UaRestriction::OnAccess(RequestContext& request) const {
  if (MayPass(request.head().fields)) return Verdict::kContinue;
  return request.ReplyMessage(403, message_);
}

}  // namespace sluice::plugins
