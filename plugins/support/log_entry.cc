#include "plugins/support/log_entry.h"

#include <algorithm>
#include <chrono>

#include "gateway/base/json_writer.h"
#include "gateway/base/text.h"
#include "gateway/plugin/consumer.h"
#include "plugins/support/templates.h"

namespace sluice::plugins {
namespace {

// What they say must not get into logs.
constexpr std::string_view kSecretFields[] = {"authorization", "proxy-authorization", "cookie",
                                              "apikey", "x-api-key"};

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

void WriteRequest(JsonWriter& json, RequestContext& request, const AccessRecord& record) {
  static const Variable kRequestUri = *Variable::Make("request_uri");
  const RequestView& view = request.view();
  const RequestHead& head = *view.head;
  json.Key("request").BeginObject();
  const std::string uri(request.Value(kRequestUri));
  json.Member("method", head.method_text).Member("uri", uri);
  json.Member("url", std::string(view.scheme) + "://" + std::string(head.authority) + uri);
  json.Member("querystring", head.query).Member("size", record.bytes_in);
  WriteHeaders(json, head.fields);
  json.EndObject();
}

void WriteDefault(JsonWriter& json, RequestContext& request, const AccessRecord& record) {
  const auto start = WallNow() - record.total;
  WriteRequest(json, request, record);
  json.Key("response").BeginObject().Member("status", record.status);
  json.Member("size", record.bytes_out).EndObject();
  json.Key("server").BeginObject().Member("version", SLUICE_VERSION).EndObject();
  json.Member("route_id", record.route_id).Member("client_ip", request.view().client_text);
  json.Member("upstream", record.node);
  json.Key("start_time")
      .Integer(std::chrono::floor<milliseconds>(start.time_since_epoch()).count());
  json.Key("latency").Number(Milliseconds(record.total));
  json.Key("upstream_latency").Number(Milliseconds(record.upstream));
  json.Key("apisix_latency").Number(Milliseconds(record.total - record.upstream));
  if (const Consumer* consumer = request.consumer()) {
    json.Key("consumer").BeginObject().Member("username", consumer->username).EndObject();
  }
}

}  // namespace

LogEntry LogEntry::Make(const Format& format, const conf::Place& place, std::string_view field) {
  LogEntry entry;
  for (const auto& [name, value] : format) {
    Member member{.name = name, .text = {}, .of_record = nullptr};
    auto text = MakeTemplate(value);
    if (text.has_value()) {
      member.text = *std::move(text);
    } else if (auto of_record = AccessLogFormat::Make(value); of_record.has_value()) {
      member.of_record = std::make_shared<const AccessLogFormat>(*std::move(of_record));
    } else {
      const conf::Node* const node = place.node.Find(field);
      const conf::Place list{node == nullptr ? place.node : *node, place.diagnostics, &place,
                             field};
      list.Fail("\"" + name + "\": " + text.error().detail);
    }
    entry.members_.push_back(std::move(member));
  }
  return entry;
}

std::string LogEntry::Line(RequestContext& request, const AccessRecord& record) const {
  std::string line;
  JsonWriter json(line);
  json.BeginObject();
  if (members_.empty()) WriteDefault(json, request, record);
  for (const Member& member : members_) {
    json.Key(member.name);
    if (member.of_record != nullptr) {
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
