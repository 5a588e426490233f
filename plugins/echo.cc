#include "plugins/echo.h"

#include "gateway/plugin/registration.h"
#include "plugins/support/changed_body.h"
#include "plugins/support/header_fields.h"

namespace sluice::plugins {

SLUICE_PLUGIN(Echo);

const conf::Fields<Echo::Config>& Echo::Fields() {
  using T = Config;
  constexpr conf::Text kBody{.min = 0, .max = 1024 * 1024, .lines = true};
  static const conf::Fields<T> kFields = {
      conf::Declare("before_body", &T::before_body, kBody, "Text in front of the body."),
      conf::Declare("body", &T::body, kBody, "Text in place of the upstream's body."),
      conf::Declare("after_body", &T::after_body, kBody, "Text behind the body."),
      conf::Declare("headers", &T::headers, HeaderFields(), "Fields to set in the response."),
  };
  return kFields;
}

std::unique_ptr<const Plugin> Echo::Make(Config config, const PluginBuild& build) {
  if (config.before_body || config.body || config.after_body) {
    return std::make_unique<const Echo>(std::move(config));
  }
  build.place.Fail("expected one of \"before_body\", \"body\" and \"after_body\"; all are missing");
  return nullptr;
}

Verdict Echo::OnHeaderFilter(RequestContext&, ResponseContext& response) const {
  // Text in front of an encoded body, or of a part, would spoil it.
  if (config_.body || IsPlainBody(response)) {
    response.RemoveHeader("Content-Encoding");
    RemoveContentFields(response);
    response.ChangeBody();
  }
  for (const auto& [name, value] : config_.headers) response.SetHeader(name, value);
  return Verdict::kContinue;
}

void Echo::OnBodyFilter(RequestContext& request, BodyPiece& piece) const {
  auto& progress = request.State<Progress>();
  std::string text;
  if (!std::exchange(progress.begun, true)) {
    text = config_.before_body.value_or("");
    text += config_.body.value_or("");
  }
  if (!config_.body) text += piece.bytes();
  if (piece.is_last()) text += config_.after_body.value_or("");
  piece.Set(std::move(text));
}

}  // namespace sluice::plugins
