#include "plugins/ip_restriction.h"

#include "gateway/plugin/registration.h"
#include "plugins/support/address_list.h"
#include "plugins/support/alternatives.h"

namespace sluice::plugins {

SLUICE_PLUGIN(IpRestriction);

const conf::Fields<IpRestriction::Config>& IpRestriction::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = {
      conf::Declare("whitelist", &T::whitelist, AddressRanges(),
                    "Who may pass. Either this or `blacklist`."),
      conf::Declare("blacklist", &T::blacklist, AddressRanges(), "Who is refused."),
      conf::Declare("message", &T::message, conf::Text{1, 1024}, "Of the refusal."),
      conf::Declare("response_code", &T::response_code, conf::Integer<int>{403, 404},
                    "Status of the refusal."),
  };
  return kFields;
}

std::unique_ptr<const Plugin> IpRestriction::Make(Config config, const PluginBuild& build) {
  if (!HasExactlyOne(build.place, {"whitelist", "blacklist"})) return nullptr;
  auto plugin = std::make_unique<IpRestriction>();
  plugin->ranges_pass_ = !config.whitelist.empty();
  plugin->ranges_ = CidrSet(plugin->ranges_pass_ ? config.whitelist : config.blacklist);
  plugin->message_ = std::move(config.message);
  plugin->status_ = config.response_code;
  return plugin;
}

Verdict IpRestriction::OnAccess(RequestContext& request) const {
  if (ranges_.Contains(request.view().client_ip) == ranges_pass_) return Verdict::kContinue;
  return request.ReplyMessage(status_, message_);
}

}  // namespace sluice::plugins
