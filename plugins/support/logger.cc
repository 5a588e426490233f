#include "plugins/support/logger.h"

#include <algorithm>

#include "plugins/support/templates.h"

namespace sluice::plugins {
namespace {

// A format takes the place of the members that APISIX's line has; extra ones are added to them.
LogEntry MakeEntry(const LoggerFields& fields, const LoggerMetadata& metadata,
                   const PluginBuild& build) {
  const bool own = !fields.log_format.empty() || !fields.log_format_extra.empty();
  const LogEntry::Format& format = own ? fields.log_format : metadata.log_format;
  const LogEntry::Format& extra = own ? fields.log_format_extra : metadata.log_format_extra;
  if (!format.empty() && !extra.empty()) {
    build.place.Fail("expected \"log_format\" or \"log_format_extra\", got both");
  }
  return LogEntry::Make(format, extra, build.place);
}

}  // namespace

Logger::Body Logger::MakeBody(uint64_t most, const conf::Node* condition, std::string_view field,
                              const PluginBuild& build) {
  Body body{.most = most, .condition = nullptr};
  if (condition != nullptr) body.condition = CompileExpression(*condition, build.place, field);
  return body;
}

Logger::Logger(const LoggerFields& fields, const LoggerMetadata& metadata, const PluginBuild& build)
    : entry_(MakeEntry(fields, metadata, build)),
      request_body_(MakeBody(fields.include_req_body ? fields.max_req_body_bytes : 0,
                             fields.include_req_body_expr, "include_req_body_expr", build)),
      response_body_(MakeBody(fields.include_resp_body ? fields.max_resp_body_bytes : 0,
                              fields.include_resp_body_expr, "include_resp_body_expr", build)) {
  for (const conf::Node* const node : fields.match) {
    auto expression = CompileExpression(*node, build.place, "match");
    if (expression != nullptr) any_of_.push_back(std::move(expression));
  }
}

void Logger::Watch(RequestContext& request, ResponseContext& response) const {
  if (entry_.has_response_fields()) response.KeepFields();
  if (response_body_.most == 0) return;
  const Expression* const condition = response_body_.condition.get();
  if (condition == nullptr || condition->Matches(request.view())) response.WatchBody();
}

void Logger::Copy(RequestContext& request, const BodyPiece& piece) const {
  std::string& body = request.State<Copied>().response_body;
  body += piece.bytes().substr(0, response_body_.most - body.size());
}

bool Logger::Wants(RequestContext& request) const {
  return any_of_.empty() ||
         std::any_of(any_of_.begin(), any_of_.end(), [&request](const auto& expression) {
           return expression->Matches(request.view());
         });
}

std::string Logger::Line(RequestContext& request, const AccessRecord& record) const {
  LogEntry::Bodies bodies;
  const Expression* const condition = request_body_.condition.get();
  if (request_body_.most > 0 && (condition == nullptr || condition->Matches(request.view()))) {
    bodies.request = request.body_sample().substr(0, request_body_.most);
  }
  if (response_body_.most > 0) bodies.response = request.State<Copied>().response_body;
  return entry_.Line(request, record, bodies);
}

}  // namespace sluice::plugins
