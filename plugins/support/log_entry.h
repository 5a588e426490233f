// A request as a line of JSON for loggers: APISIX's members, those of a `log_format`, or both.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "conf/schema.h"
#include "gateway/base/json_writer.h"
#include "gateway/http/text_template.h"
#include "gateway/observe/access_log.h"
#include "gateway/plugin/request_context.h"

namespace sluice::plugins {

class LogEntry {
 public:
  using Format = std::vector<std::pair<std::string, std::string>>;

  // What was copied of them; empty: nothing.
  struct Bodies {
    std::string_view request;
    std::string_view response;
  };

  // `format` empty: APISIX's members, and `extra` besides or in place of them. Unknown variables
  // are said at `place`, a map that may have both.
  static LogEntry Make(const Format& format, const Format& extra, const conf::Place& place);

  bool has_response_fields() const { return is_default_; }
  std::string Line(RequestContext& request, const AccessRecord& record, const Bodies& bodies) const;

 private:
  // One of these.
  struct Member {
    std::string name;
    TextTemplate text;                                 // of variables of requests
    std::shared_ptr<const AccessLogFormat> of_record;  // of variables of access logs
    std::string_view Bodies::*body = nullptr;
  };

  static Member MakeMember(const std::string& name, const std::string& value,
                           const conf::Place& place);
  void WriteDefault(JsonWriter& json, RequestContext& request, const AccessRecord& record,
                    const Bodies& bodies) const;
  bool Lacks(std::string_view name) const;  // no member of its own has that name

  std::vector<Member> members_;
  bool is_default_ = false;
};

}  // namespace sluice::plugins
