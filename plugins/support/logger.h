// What file-logger and http-logger have in common: which requests, and as what lines.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "conf/declaration.h"
#include "gateway/plugin/plugin.h"
#include "gateway/routing/expression.h"
#include "plugins/support/log_entry.h"
#include "plugins/support/templates.h"

namespace sluice::plugins {

struct LoggerFields {
  LogEntry::Format log_format;
  std::vector<const conf::Node*> match;
};

inline conf::MapOf<conf::Text> LogFormatField() { return {.item = {0, 4096}, .max = 200}; }

template <typename T>
void AddLoggerFields(conf::Fields<T>& fields) {
  constexpr size_t kMostMatches = 20;
  fields.push_back(conf::Declare<T>(
      "log_format", static_cast<LogEntry::Format T::*>(&T::log_format), LogFormatField(),
      "Members of a line, each a text with $variables, those of access logs among them."));
  fields.push_back(conf::Declare<T>(
      "match", static_cast<std::vector<const conf::Node*> T::*>(&T::match),
      conf::ListOf<conf::AnyValue>{{}, 0, false, kMostMatches},
      "Expressions over the request, of which one has to match; none: all requests."));
  for (const std::string_view name :
       {"log_format_extra", "include_req_body", "include_req_body_expr", "include_resp_body",
        "include_resp_body_expr"}) {
    fields.push_back(conf::NotBuilt<T>(name));
  }
}

// For bodies, which are not logged: accepted, as they limit nothing.
template <typename T>
void AddBodySizeFields(conf::Fields<T>& fields) {
  fields.push_back(conf::Accept<T>("max_req_body_bytes", conf::Integer<int64_t>{1}));
  fields.push_back(conf::Accept<T>("max_resp_body_bytes", conf::Integer<int64_t>{1}));
}

// plugin_metadata of a logger.
struct LoggerMetadata {
  LogEntry::Format log_format;
};

template <typename T>
void AddLoggerMetadataFields(conf::Fields<T>& fields) {
  fields.push_back(conf::Declare<T>("log_format",
                                    static_cast<LogEntry::Format T::*>(&T::log_format),
                                    LogFormatField(), "For loggers that have none of their own."));
  fields.push_back(conf::NotBuilt<T>("log_format_extra"));
}

class Logger {
 public:
  // `format`: of the metadata.
  Logger(const LoggerFields& fields, const LogEntry::Format& format, const PluginBuild& build)
      : entry_(LogEntry::Make(fields.log_format.empty() ? format : fields.log_format, build.place,
                              "log_format")) {
    for (const conf::Node* const node : fields.match) {
      auto expression = CompileExpression(*node, build.place, "match");
      if (expression != nullptr) any_of_.push_back(std::move(expression));
    }
  }

  bool Wants(RequestContext& request) const {
    if (any_of_.empty()) return true;
    for (const auto& expression : any_of_) {
      if (expression->Matches(request.view())) return true;
    }
    return false;
  }
  std::string Line(RequestContext& request, const AccessRecord& record) const {
    return entry_.Line(request, record);
  }

 private:
  LogEntry entry_;
  std::vector<std::unique_ptr<const Expression>> any_of_;
};

}  // namespace sluice::plugins
