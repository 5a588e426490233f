#include "plugins/client_control.h"

#include "gateway/plugin/registration.h"

namespace sluice::plugins {

SLUICE_PLUGIN(ClientControl);

const conf::Fields<ClientControl::Config>& ClientControl::Fields() {
  using T = Config;
  constexpr int64_t kLargest = int64_t{1} << 50;
  static const conf::Fields<T> kFields = {
      conf::Declare("max_body_size", &T::max_body_size, conf::Integer<uint64_t>{0, kLargest},
                    "Bytes; 0: any size. None: as `client_max_body_size` of the gateway says."),
  };
  return kFields;
}

Verdict ClientControl::OnRewrite(RequestContext& request) const {
  if (!config_.max_body_size) return Verdict::kContinue;
  const uint64_t limit = *config_.max_body_size;
  const BodyFraming& body = request.head().body;
  if (limit > 0 && body.kind == BodyFraming::Kind::kLength && body.length > limit) {
    return request.Reply(413);
  }
  request.SetBodyLimit(limit);  // for a body that does not say how long it is
  return Verdict::kContinue;
}

}  // namespace sluice::plugins
