#include "plugins/real_ip.h"

#include "gateway/base/log.h"
#include "gateway/http/excerpt.h"
#include "gateway/plugin/registration.h"
#include "plugins/support/address_list.h"
#include "plugins/support/forwarded_address.h"

namespace sluice::plugins {

SLUICE_PLUGIN(RealIp);

const conf::Fields<RealIp::Config>& RealIp::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = {
      conf::Required(conf::Declare(
          "source", &T::source, conf::Text{1, 256},
          "Variable that has the address, perhaps with a port: http_x_forwarded_for (of which the "
          "last counts), http_x_real_ip, arg_realip …")),
      conf::Declare("trusted_addresses", &T::trusted_addresses, AddressRanges(),
                    "Peers that are believed; none: all, so that every client can choose its "
                    "address."),
      conf::Declare("recursive", &T::recursive, conf::Boolean{},
                    "Of X-Forwarded-For the last that is not in `trusted_addresses`."),
  };
  return kFields;
}

std::unique_ptr<const Plugin> RealIp::Make(const Config& config, const PluginBuild& build) {
  auto source = Variable::Make(config.source);
  if (!source.has_value()) {
    build.place.Fail("source: " + source.error().detail);
    return nullptr;
  }
  if (source->needs_body()) {
    build.place.Fail("source: expected a variable that does not need the body, got \"" +
                     config.source + "\"");
    return nullptr;
  }
  return std::make_unique<RealIp>(*std::move(source), config.trusted_addresses, config.recursive);
}

Verdict RealIp::OnRewrite(RequestContext& request) const {
  if (!trusted_.empty() && !trusted_.Contains(request.view().client_ip)) return Verdict::kContinue;
  const std::string_view text = request.Value(source_);
  if (text.data() == nullptr) return Verdict::kContinue;
  const bool is_list = source_.name() == "http_x_forwarded_for";
  const bool skips = recursive_ && !trusted_.empty();
  const auto address =
      is_list ? FindInList(text, skips ? &trusted_ : nullptr) : ParseForwardedAddress(text);
  if (address) {
    request.SetClientAddress(address->ip, address->port);
  } else {
    Log(LogLevel::kInfo, "real-ip: no address where one was expected",
        {{"route", request.route_id()}, {"text", Excerpt(text)}});
  }
  return Verdict::kContinue;
}

}  // namespace sluice::plugins
