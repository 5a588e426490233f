#include "plugins/uri_blocker.h"

#include "gateway/plugin/registration.h"

namespace sluice::plugins {

SLUICE_PLUGIN(UriBlocker);

const conf::Fields<UriBlocker::Config>& UriBlocker::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = {
      conf::Required(conf::Declare(
          "block_rules", &T::block_rules, Patterns(0),
          "Regular expressions. Each is searched in the URI as it came and in the URI as it is "
          "forwarded, normalised; both with the query.")),
      conf::Declare("rejected_code", &T::rejected_code, conf::Integer<int>{200, 599},
                    "Status of the refusal."),
      conf::Declare("rejected_msg", &T::rejected_msg, conf::Text{1, 4096},
                    "Of the refusal, as `error_msg`; none: the status says it."),
      conf::Declare("case_insensitive", &T::case_insensitive, conf::Boolean{},
                    "Letters match in any case."),
  };
  return kFields;
}

std::unique_ptr<const Plugin> UriBlocker::Make(Config config, const PluginBuild& build) {
  auto plugin = std::make_unique<UriBlocker>();
  plugin->rules_ = PatternList::Make(
      config.block_rules,
      config.case_insensitive ? Regex::Case::kInsensitive : Regex::Case::kSensitive, build.place,
      "block_rules");
  plugin->status_ = config.rejected_code;
  plugin->message_ = std::move(config.rejected_msg);
  return plugin;
}

// A pattern that gave up is taken for a match: otherwise a URI that is hard to match would pass.
bool UriBlocker::Blocks(RequestContext& request) const {
  static const Variable kAsItCame = *Variable::Make("request_uri");
  const std::string_view came = request.Value(kAsItCame);
  if (rules_.Search(came) != Regex::Outcome::kNoMatch) return true;
  // What an escape or a dot segment hides is in the clear here (`/%61dmin`).
  const std::string_view path = request.view().path;
  if (came.starts_with(path) && (came.size() == path.size() || came[path.size()] == '?')) {
    return false;
  }
  std::string normal(path);
  if (request.head().has_query) normal.append("?").append(request.head().query);
  return rules_.Search(normal) != Regex::Outcome::kNoMatch;
}

Verdict UriBlocker::OnRewrite(RequestContext& request) const {
  if (rules_.empty() || !Blocks(request)) return Verdict::kContinue;
  return message_ ? request.ReplyErrorMessage(status_, *message_) : request.Reply(status_);
}

}  // namespace sluice::plugins
