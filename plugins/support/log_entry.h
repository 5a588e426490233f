// A request as a line of JSON for loggers: APISIX's members, or those of a `log_format`.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "conf/schema.h"
#include "gateway/http/text_template.h"
#include "gateway/observe/access_log.h"
#include "gateway/plugin/request_context.h"

namespace sluice::plugins {

class LogEntry {
 public:
  using Format = std::vector<std::pair<std::string, std::string>>;

  // `format` is the member `field` of the map at `place`, where unknown variables are said; empty:
  // APISIX's members.
  static LogEntry Make(const Format& format, const conf::Place& place, std::string_view field);

  std::string Line(RequestContext& request, const AccessRecord& record) const;

 private:
  // One of both.
  struct Member {
    std::string name;
    TextTemplate text;                                 // of variables of requests
    std::shared_ptr<const AccessLogFormat> of_record;  // of variables of access logs
  };

  std::vector<Member> members_;
};

}  // namespace sluice::plugins
