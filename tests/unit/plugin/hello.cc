#include "tests/unit/plugin/hello.h"

#include "gateway/plugin/registration.h"

namespace sluice::plugins {

SLUICE_PLUGIN(Hello);

const conf::Fields<Hello::Config>& Hello::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = {
      conf::Declare("greeting", &T::greeting, conf::Text{1, 256}, "What is said."),
      conf::Declare("answers", &T::answers, conf::Boolean{}, "Answers in place of the upstream."),
  };
  return kFields;
}

Verdict Hello::OnAccess(RequestContext& request) const {
  if (config_.answers) return request.ReplyMessage(200, config_.greeting);
  request.SetResponseHeader("X-Greeting", config_.greeting);
  return Verdict::kContinue;
}

}  // namespace sluice::plugins
