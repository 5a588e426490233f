#include "plugins/support/log_entry.h"

#include <algorithm>
#include <chrono>

#include "gateway/base/text.h"
#include "gateway/plugin/consumer.h"
#include "plugins/support/templates.h"

namespace sluice::plugins {
namespace {

// What they say must not get into logs.
constexpr std::string_view kSecretFields[] = {
    "authorization", "proxy-authorization", "cookie", "set-cookie", "apikey", "x-api-key"};

double Milliseconds(Duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

bool IsSecret(std::string_view name) {
  for (const std::string_view secret : kSecretFields) {
    if (name == secret) return true;
  }
  return false;
}

// One member for each name: several fields of a name are a list. A name that stands in an object
// twice makes some collectors refuse the whole batch, at the wish of any client.
void WriteHeaders(JsonWriter& json, const HeaderList& fields) {
  json.Key("headers").BeginObject();
  for (size_t i = 0; i < fields.size(); ++i) {
    const auto has_name = [&wanted = fields[i].name](const HeaderField& field) {
      return EqualsIgnoreCase(field.name, wanted);
    };
    const auto first = fields.begin() + static_cast<std::ptrdiff_t>(i);
    if (std::any_of(fields.begin(), first, has_name)) continue;
    const std::string name = ToLower(fields[i].name);
    const bool is_list = std::count_if(first, fields.end(), has_name) > 1;
    json.Key(name);
    if (is_list) json.BeginArray();
    for (auto field = first; field != fields.end(); ++field) {
      if (has_name(*field)) json.String(IsSecret(name) ? "***" : field->value);
    }
    if (is_list) json.EndArray();
  }
  json.EndObject();
}

void WriteRequest(JsonWriter& json, RequestContext& request, const AccessRecord& record,
                  std::string_view body) {
  static const Variable kRequestUri = *Variable::Make("request_uri");
  const RequestView& view = request.view();
  const RequestHead& head = *view.head;
  json.Key("request").BeginObject();
  const std::string uri(request.Value(kRequestUri));
  json.Member("method", head.method_text).Member("uri", uri);
  json.Member("url", std::string(view.scheme) + "://" + std::string(head.authority) + uri);
  json.Member("querystring", head.query).Member("size", record.bytes_in);
  WriteHeaders(json, head.fields);
  if (!body.empty()) json.Member("body", body);
  json.EndObject();
}

void WriteResponse(JsonWriter& json, RequestContext& request, const AccessRecord& record,
                   std::string_view body) {
  json.Key("response").BeginObject().Member("status", record.status);
  json.Member("size", record.bytes_out);
  WriteHeaders(json, request.response_fields());
  if (!body.empty()) json.Member("body", body);
  json.EndObject();
}

}  // namespace

bool LogEntry::Lacks(std::string_view name) const {
  return std::none_of(members_.begin(), members_.end(),
                      [name](const Member& member) { return member.name == name; });
}

void LogEntry::WriteDefault(JsonWriter& json, RequestContext& request, const AccessRecord& record,
                            const Bodies& bodies) const {
  if (Lacks("request")) WriteRequest(json, request, record, bodies.request);
  if (Lacks("response")) WriteResponse(json, request, record, bodies.response);
  if (Lacks("server")) {
    json.Key("server").BeginObject().Member("version", SLUICE_VERSION).EndObject();
  }
  const std::pair<std::string_view, std::string_view> texts[] = {
      {"route_id", record.route_id},
      {"client_ip", request.view().client_text},
      {"upstream", record.node}};
  for (const auto& [name, text] : texts) {
    if (Lacks(name)) json.Member(name, text);
  }
  const auto start = std::chrono::floor<milliseconds>(WallNow() - record.total);
  if (Lacks("start_time")) json.Member("start_time", start.time_since_epoch().count());
  const std::pair<std::string_view, Duration> times[] = {
      {"latency", record.total},
      {"upstream_latency", record.upstream},
      {"apisix_latency", record.total - record.upstream}};
  for (const auto& [name, time] : times) {
    if (Lacks(name)) json.Key(name).Number(Milliseconds(time));
  }
  const Consumer* const consumer = request.consumer();
  if (consumer != nullptr && Lacks("consumer")) {
    json.Key("consumer").BeginObject().Member("username", consumer->username).EndObject();
  }
}

LogEntry::Member LogEntry::MakeMember(const std::string& name, const std::string& value,
                                      const conf::Place& place) {
  Member member{.name = name, .text = {}, .of_record = nullptr};
  if (value == "$request_body" || value == "$resp_body") {
    member.body = value == "$resp_body" ? &Bodies::response : &Bodies::request;
    return member;
  }
  auto text = MakeTemplate(value);
  if (text.has_value()) {
    member.text = *std::move(text);
  } else if (auto of_record = AccessLogFormat::Make(value); of_record.has_value()) {
    member.of_record = std::make_shared<const AccessLogFormat>(*std::move(of_record));
  } else {
    place.Fail("\"" + name + "\": " + text.error().detail);
  }
  return member;
}

LogEntry LogEntry::Make(const Format& format, const Format& extra, const conf::Place& place) {
  LogEntry entry;
  entry.is_default_ = format.empty();
  const std::string_view field = format.empty() ? "log_format_extra" : "log_format";
  const conf::Node* const node = place.node.Find(field);
  const conf::Place map{node == nullptr ? place.node : *node, place.diagnostics, &place, field};
  for (const auto& [name, value] : format.empty() ? extra : format) {
    entry.members_.push_back(MakeMember(name, value, map));
  }
  return entry;
}

std::string LogEntry::Line(RequestContext& request, const AccessRecord& record,
                           const Bodies& bodies) const {
  std::string line;
  JsonWriter json(line);
  json.BeginObject();
  if (is_default_) WriteDefault(json, request, record, bodies);
  for (const Member& member : members_) {
    json.Key(member.name);
    if (member.body != nullptr) {
      const std::string_view body = bodies.*member.body;
      body.empty() ? json.Null() : json.String(body);
    } else if (member.of_record != nullptr) {
      std::string text;
      member.of_record->Append(text, record, WallNow());
      text.pop_back();  // the end of a line
      text == "-" ? json.Null() : json.String(text);
    } else if (member.text.is_constant()) {
      json.String(member.text.text());
    } else {
      const std::string_view text = request.ExpandKnown(member.text);
      text.data() == nullptr ? json.Null() : json.String(text);
    }
  }
  json.EndObject();
  return line;
}

}  // namespace sluice::plugins
