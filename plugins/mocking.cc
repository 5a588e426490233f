#include "plugins/mocking.h"

#include <algorithm>
#include <array>

#include "gateway/base/text.h"
#include "gateway/plugin/registration.h"
#include "plugins/support/header_fields.h"
#include "plugins/support/templates.h"

namespace sluice::plugins {

SLUICE_PLUGIN(Mocking);

namespace {

constexpr double kLongestDelay = 3600;
constexpr size_t kLongestExample = 1024 * 1024;

enum class Media : uint8_t { kOther, kText, kJson, kXml };

// Without its parameters.
Media MediaOf(std::string_view content_type) {
  static constexpr std::array<std::pair<std::string_view, Media>, 5> kTypes = {{
      {"application/json", Media::kJson},
      {"text/plain", Media::kJson},
      {"application/xml", Media::kXml},
      {"text/xml", Media::kXml},
      {"text/html", Media::kText},
  }};
  const std::string_view type = TrimOws(content_type.substr(0, content_type.find(';')));
  const auto* const found = std::find_if(kTypes.begin(), kTypes.end(), [type](const auto& each) {
    return EqualsIgnoreCase(each.first, type);
  });
  return found == kTypes.end() ? Media::kOther : found->second;
}

}  // namespace

const conf::Fields<Mocking::Config>& Mocking::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = {
      conf::Declare("delay", &T::delay, conf::Seconds{.positive = false, .max = kLongestDelay},
                    "How long the reply waits."),
      conf::Declare("response_status", &T::response_status, conf::Integer<int>{200, 599},
                    "Status of the reply."),
      conf::Declare("content_type", &T::content_type, conf::Text{1, 256},
                    "application/json, application/xml, text/plain, text/html or text/xml, perhaps "
                    "with parameters."),
      conf::Declare("response_example", &T::response_example,
                    conf::Text{.min = 0, .max = kLongestExample, .lines = true},
                    "Body of the reply; may have $variables. Goes before `response_schema`."),
      conf::Declare("response_schema", &T::response_schema, conf::AnyValue{},
                    "JSON Schema of an object: `type`, `properties`, `items` and `example` of its "
                    "values. The body is JSON or XML, as `content_type` says."),
      conf::Declare("with_mock_header", &T::with_mock_header, conf::Boolean{},
                    "Sets `x-mock-by`, so that nobody takes it for the real thing."),
      conf::Declare("response_headers", &T::response_headers, HeaderFields(),
                    "Fields of the reply; values may have $variables."),
  };
  return kFields;
}

std::unique_ptr<const Plugin> Mocking::Make(Config config, const PluginBuild& build) {
  const conf::Place& place = build.place;
  const Media media = MediaOf(config.content_type);
  if (media == Media::kOther) {
    place.Fail(
        "content_type: unsupported content type! expected application/json, "
        "application/xml, text/plain, text/html or text/xml, got \"" +
        config.content_type + "\"");
    return nullptr;
  }
  auto plugin = std::make_unique<Mocking>();
  if (config.response_example) {
    plugin->example_ = CompileTemplate(*config.response_example, place, "response_example");
  } else if (config.response_schema == nullptr) {
    place.Fail("expected \"response_example\" or \"response_schema\"; both are missing");
    return nullptr;
  } else if (media == Media::kText) {
    place.Fail("content_type: expected JSON, XML or text/plain beside \"response_schema\", got \"" +
               config.content_type + "\"");
    return nullptr;
  }
  if (config.response_schema != nullptr && media != Media::kText) {
    const conf::Place schema{*config.response_schema, place.diagnostics, &place, "response_schema"};
    if (!schema.node.is_map()) {
      schema.Expected("a map");
      return nullptr;
    }
    plugin->made_up_ = MockValue::Make(
        schema, media == Media::kXml ? MockValue::Form::kXml : MockValue::Form::kJson);
    if (config.response_example) plugin->made_up_ = nullptr;
  }
  for (const auto& [name, value] : config.response_headers) {
    plugin->headers_.emplace_back(name, CompileTemplate(value, place, "response_headers"));
  }
  plugin->content_type_ = std::move(config.content_type);
  plugin->status_ = config.response_status;
  plugin->delay_ = config.delay;
  plugin->says_so_ = config.with_mock_header;
  return plugin;
}

Verdict Mocking::OnAccess(RequestContext& request) const {
  for (const auto& [name, value] : headers_) {
    const std::string_view text = request.Expand(value);
    const bool is_type = EqualsIgnoreCase(name, "Content-Type");  // of which there is one
    is_type ? request.SetResponseHeader(name, text) : request.AddResponseHeader(name, text);
  }
  if (says_so_) request.SetResponseHeader("x-mock-by", "Sluice/" SLUICE_VERSION);
  const Verdict reply = made_up_ != nullptr
                            ? request.Reply(status_, made_up_->Generate(request), content_type_)
                            : request.Reply(status_, request.Expand(example_), content_type_);
  return delay_ > Duration::zero() ? request.Delay(delay_, reply) : reply;
}

}  // namespace sluice::plugins
