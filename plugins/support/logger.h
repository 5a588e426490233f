// What file-logger and http-logger have in common: which requests, and as what lines. Bodies are
// copied as they pass, up to a limit; nothing waits for a logger.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "conf/declaration.h"
#include "gateway/plugin/plugin.h"
#include "gateway/routing/expression.h"
#include "plugins/support/log_entry.h"

namespace sluice::plugins {

struct LoggerFields {
  LogEntry::Format log_format;
  LogEntry::Format log_format_extra;
  std::vector<const conf::Node*> match;
  bool include_req_body = false;
  bool include_resp_body = false;
  const conf::Node* include_req_body_expr = nullptr;
  const conf::Node* include_resp_body_expr = nullptr;
  uint64_t max_req_body_bytes = 512 * 1024;
  uint64_t max_resp_body_bytes = 512 * 1024;
};

// plugin_metadata of a logger.
struct LoggerMetadata {
  LogEntry::Format log_format;
  LogEntry::Format log_format_extra;
};

inline conf::MapOf<conf::Text> LogFormatField() { return {.item = {0, 4096}, .max = 200}; }

template <typename T>
void AddBodyFields(conf::Fields<T>& fields) {
  // A line may be six times as long as its bodies.
  constexpr conf::Integer<uint64_t> kBytes{1, 2 * 1024 * 1024};
  const auto add = [&fields](std::string_view name, auto member, auto type, std::string_view doc) {
    fields.push_back(conf::Declare<T>(name, member, type, doc));
  };
  add("include_req_body", static_cast<bool T::*>(&T::include_req_body), conf::Boolean{},
      "The line has the body of the request.");
  add("include_req_body_expr", static_cast<const conf::Node * T::*>(&T::include_req_body_expr),
      conf::AnyValue{}, "An expression that has to match for that.");
  add("max_req_body_bytes", static_cast<uint64_t T::*>(&T::max_req_body_bytes), kBytes,
      "Bytes of it; what follows is left out.");
  add("include_resp_body", static_cast<bool T::*>(&T::include_resp_body), conf::Boolean{},
      "The line has the body of the response, before it is compressed.");
  add("include_resp_body_expr", static_cast<const conf::Node * T::*>(&T::include_resp_body_expr),
      conf::AnyValue{}, "An expression over request and `status` that has to match for that.");
  add("max_resp_body_bytes", static_cast<uint64_t T::*>(&T::max_resp_body_bytes), kBytes,
      "Bytes of it; what follows is left out.");
}

template <typename T>
void AddLogFormats(conf::Fields<T>& fields, std::string_view doc, std::string_view extra_doc) {
  fields.push_back(conf::Declare<T>(
      "log_format", static_cast<LogEntry::Format T::*>(&T::log_format), LogFormatField(), doc));
  fields.push_back(conf::Declare<T>("log_format_extra",
                                    static_cast<LogEntry::Format T::*>(&T::log_format_extra),
                                    LogFormatField(), extra_doc));
}

template <typename T>
void AddLoggerFields(conf::Fields<T>& fields) {
  constexpr size_t kMostMatches = 20;
  AddLogFormats(fields,
                "Members of a line, each a text with $variables, those of access logs among them; "
                "`$request_body` and `$resp_body` alone are the bodies.",
                "Members more than, or in place of, those that a line has without a format.");
  fields.push_back(conf::Declare<T>(
      "match", static_cast<std::vector<const conf::Node*> T::*>(&T::match),
      conf::ListOf<conf::AnyValue>{{}, 0, false, kMostMatches},
      "Expressions over the request, of which one has to match; none: all requests."));
  AddBodyFields(fields);
}

template <typename T>
void AddLoggerMetadataFields(conf::Fields<T>& fields) {
  AddLogFormats(fields, "For loggers that have no format of their own.",
                "For loggers that have no format of their own.");
}

class Logger {
 public:
  Logger(const LoggerFields& fields, const LoggerMetadata& metadata, const PluginBuild& build);

  // For request_body_sample().
  uint64_t request_body_sample() const { return request_body_.most; }
  // In header_filter and body_filter.
  void Watch(RequestContext& request, ResponseContext& response) const;
  void Copy(RequestContext& request, const BodyPiece& piece) const;

  bool Wants(RequestContext& request) const;
  std::string Line(RequestContext& request, const AccessRecord& record) const;

 private:
  struct Body {
    uint64_t most = 0;  // bytes; 0: it is not logged
    std::unique_ptr<const Expression> condition;
  };
  struct Copied {
    std::string response_body;
  };

  static Body MakeBody(uint64_t most, const conf::Node* condition, std::string_view field,
                       const PluginBuild& build);

  LogEntry entry_;
  std::vector<std::unique_ptr<const Expression>> any_of_;
  Body request_body_;
  Body response_body_;
};

}  // namespace sluice::plugins
