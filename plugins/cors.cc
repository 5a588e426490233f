#include "plugins/cors.h"

#include <algorithm>

#include "gateway/base/text.h"
#include "gateway/plugin/registration.h"
#include "plugins/support/vary.h"

namespace sluice::plugins {

SLUICE_PLUGIN(Cors);

namespace {

constexpr std::string_view kAllMethods = "GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,CONNECT,TRACE";

bool IsWordCharacter(char c) {
  return IsDigit(c) || c == '_' || (AsciiLower(c) >= 'a' && AsciiLower(c) <= 'z');
}

bool IsOrigin(std::string_view text) {
  const size_t colon = text.find("://");
  return colon != std::string_view::npos && colon > 0 && colon + 3 < text.size() &&
         std::all_of(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(colon),
                     IsWordCharacter);
}

bool IsOrigins(std::string_view text) {
  if (text == "*" || text == "**" || text == "null") return true;
  const std::vector<std::string_view> origins = Split(text, ',');
  return std::all_of(origins.begin(), origins.end(), IsOrigin);
}

conf::TextLike OriginsText() {
  return {"*, **, null, or origins such as https://example.com with a comma between them",
          IsOrigins,
          "^(\\*|\\*\\*|null|\\w+://[^,]+(,\\w+://[^,]+)*)$",
          {1, 64 * 1024}};
}

}  // namespace

const conf::Fields<Cors::Config>& Cors::Fields() {
  using T = Config;
  constexpr conf::Text kList{1, 4096};
  static const conf::Fields<T> kFields = {
      conf::Declare("allow_origins", &T::allow_origins, OriginsText(),
                    "Origins that may read responses, with a comma between them. `*`: all, "
                    "without credentials. `**`: all, even with credentials; then any page can "
                    "act for its visitor."),
      conf::Declare("allow_methods", &T::allow_methods, kList,
                    "Methods that they may use, with a comma between them; `*`: all, without "
                    "credentials; `**`: all."),
      conf::Declare("allow_headers", &T::allow_headers, kList,
                    "Fields that they may send; `*`: all, without credentials; `**`: those that "
                    "are asked for."),
      conf::Declare("expose_headers", &T::expose_headers, conf::Text{0, 4096},
                    "Fields of responses that they may read; none: those that are always."),
      conf::Declare("max_age", &T::max_age, conf::Integer<int64_t>{-1, 1'000'000'000},
                    "Seconds for which browsers may keep the answer; -1: not at all."),
      conf::Declare("allow_credential", &T::allow_credential, conf::Boolean{},
                    "With cookies and the like. No other field may be `*` then."),
      conf::Declare(
          "allow_origins_by_regex", &T::allow_origins_by_regex, Patterns(),
          "Regular expressions for origins, in place of `allow_origins`. They are searched: "
          "without `^` and `$` they match what contains a match, as `example\\.com` does "
          "`https://example.com.evil.test`."),
      conf::Declare("allow_origins_by_metadata", &T::allow_origins_by_metadata,
                    conf::ListOf<conf::Text>{{}, 1, true, 1000},
                    "Names in the metadata's `allow_origins`, besides the fields above."),
      conf::Declare("timing_allow_origins", &T::timing_allow_origins, OriginsText(),
                    "Origins that may see how long a response took, as `allow_origins`."),
      conf::Declare("timing_allow_origins_by_regex", &T::timing_allow_origins_by_regex, Patterns(),
                    "Regular expressions, in place of `timing_allow_origins`."),
  };
  return kFields;
}

const conf::Fields<Cors::Metadata>& Cors::MetadataFields() {
  using T = Metadata;
  static const conf::Fields<T> kFields = {
      conf::Declare("allow_origins", &T::allow_origins,
                    conf::MapOf<conf::TextLike>{OriginsText(), 0, 1000},
                    "Origins by a name, for `allow_origins_by_metadata`."),
  };
  return kFields;
}

Cors::Origins Cors::Origins::Make(std::string_view text) {
  Origins made;
  if (text == "*") {
    made.kind = Kind::kAny;
  } else if (text == "**") {
    made.kind = Kind::kAsking;
  } else {
    made.kind = Kind::kListed;
    for (const std::string_view origin : Split(text, ',')) made.list.emplace_back(origin);
  }
  return made;
}

std::string_view Cors::Origins::Answer(std::string_view origin) const {
  switch (kind) {
    case Kind::kNone:
      return {};
    case Kind::kAny:
      return "*";
    case Kind::kAsking:
      return origin.data() == nullptr ? "*" : origin;
    case Kind::kListed:
      return std::find(list.begin(), list.end(), origin) == list.end() ? std::string_view()
                                                                       : origin;
    case Kind::kPatterns:
      break;
  }
  const bool matches =
      origin.data() != nullptr && patterns.Search(origin) == Regex::Outcome::kMatch;
  return matches ? origin : std::string_view();
}

std::unique_ptr<const Plugin> Cors::Make(Config config, const PluginBuild& build) {
  auto plugin = std::make_unique<Cors>();
  const auto by_patterns = [&](const std::vector<std::string>& patterns, std::string_view field) {
    Origins made;
    made.kind = Origins::Kind::kPatterns;
    made.patterns = PatternList::Make(patterns, Regex::Case::kSensitive, build.place, field);
    return made;
  };
  if (!config.allow_origins_by_regex.empty()) {
    plugin->origins_ = by_patterns(config.allow_origins_by_regex, "allow_origins_by_regex");
  } else if (config.allow_origins_by_metadata.empty() ||
             build.place.node.Find("allow_origins") != nullptr) {
    plugin->origins_ = Origins::Make(config.allow_origins);
  }
  const Metadata metadata = ReadMetadata<Cors>(build);
  for (const std::string& name : config.allow_origins_by_metadata) {
    const auto found = std::find_if(metadata.allow_origins.begin(), metadata.allow_origins.end(),
                                    [&](const auto& each) { return each.first == name; });
    if (found == metadata.allow_origins.end()) {
      build.place.Fail(
          "allow_origins_by_metadata: expected a name in allow_origins of the "
          "plugin's metadata, got \"" +
          name + "\"");
    } else {
      plugin->by_metadata_.push_back(Origins::Make(found->second));
    }
  }
  if (!config.timing_allow_origins_by_regex.empty()) {
    plugin->timing_ =
        by_patterns(config.timing_allow_origins_by_regex, "timing_allow_origins_by_regex");
  } else if (config.timing_allow_origins) {
    plugin->timing_ = Origins::Make(*config.timing_allow_origins);
  }
  const auto is_any = [](const Origins& origins) { return origins.kind == Origins::Kind::kAny; };
  if (config.allow_credential &&
      (is_any(plugin->origins_) || is_any(plugin->timing_) || config.allow_methods == "*" ||
       config.allow_headers == "*" || config.expose_headers == "*" ||
       std::any_of(plugin->by_metadata_.begin(), plugin->by_metadata_.end(), is_any))) {
    build.place.Fail("you can not set '*' for other option when 'allow_credential' is true");
  }
  plugin->methods_ = config.allow_methods == "**" ? kAllMethods : config.allow_methods;
  plugin->headers_ = std::move(config.allow_headers);
  plugin->expose_ = std::move(config.expose_headers);
  plugin->max_age_ = std::to_string(config.max_age);
  plugin->credentials_ = config.allow_credential;
  plugin->varies_ = !plugin->origins_.is_constant() || !plugin->timing_.is_constant() ||
                    (!is_any(plugin->origins_) && !plugin->by_metadata_.empty());
  return plugin;
}

// The origin is that of the client, whatever another plugin makes of the field.
Verdict Cors::OnRewrite(RequestContext& request) const {
  request.State<Asked>() = {true, request.Header("Origin")};
  return request.view().method() == Method::kOptions ? request.Reply(200) : Verdict::kContinue;
}

std::string_view Cors::AllowedOrigin(std::string_view origin) const {
  if (const std::string_view answer = origins_.Answer(origin); !answer.empty()) return answer;
  const bool allowed = std::any_of(by_metadata_.begin(), by_metadata_.end(),
                                   [&](const auto& each) { return !each.Answer(origin).empty(); });
  return allowed ? origin : std::string_view();
}

void Cors::Allow(std::string_view origin, RequestContext& request,
                 ResponseContext& response) const {
  response.SetHeader("Access-Control-Allow-Origin", origin);
  response.SetHeader("Access-Control-Allow-Methods", methods_);
  response.SetHeader("Access-Control-Max-Age", max_age_);
  if (!expose_.empty()) response.SetHeader("Access-Control-Expose-Headers", expose_);
  if (headers_ != "**") {
    response.SetHeader("Access-Control-Allow-Headers", headers_);
  } else if (const auto asked = request.Header("Access-Control-Request-Headers"); !asked.empty()) {
    response.SetHeader("Access-Control-Allow-Headers", asked);
  } else {
    response.RemoveHeader("Access-Control-Allow-Headers");
  }
  if (credentials_) response.SetHeader("Access-Control-Allow-Credentials", "true");
}

Verdict Cors::OnHeaderFilter(RequestContext& request, ResponseContext& response) const {
  const Asked& asked = request.State<Asked>();
  const std::string_view origin = asked.known ? asked.origin : request.Header("Origin");
  if (varies_) AddVary(response, "Origin");
  if (const std::string_view allowed = AllowedOrigin(origin); !allowed.empty()) {
    Allow(allowed, request, response);
  }
  if (const std::string_view allowed = timing_.Answer(origin); !allowed.empty()) {
    response.SetHeader("Timing-Allow-Origin", allowed);
  }
  return Verdict::kContinue;
}

}  // namespace sluice::plugins
