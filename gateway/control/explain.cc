#include "gateway/control/explain.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "gateway/base/arena.h"
#include "gateway/base/json_writer.h"
#include "gateway/base/text.h"
#include "gateway/http/hygiene.h"
#include "gateway/http/uri.h"
#include "gateway/proxy/client_address.h"

namespace sluice {

namespace {

// A request made from the command line, taken through the same checks as one from the wire.
struct ExplainedRequest {
  Arena arena;
  RequestHead head;
  RequestView view;

  Status Read(const ExplainInput& input, const conf::GatewayConfig& gateway);

 private:
  Status ReadUrl(const ExplainInput& input);
};

Error BadInput(std::string detail) {
  return GatewayError(ErrorCode::kInvalidConfig, std::move(detail));
}

Status ExplainedRequest::ReadUrl(const ExplainInput& input) {
  const std::string_view url = input.url;
  std::string_view authority = "localhost";
  view.scheme = "http";
  head.target = url;
  if (const size_t mark = url.find("://"); mark != std::string_view::npos && url.front() != '/') {
    view.scheme = arena.Copy(ToLower(url.substr(0, mark)));
    if (view.scheme != "http" && view.scheme != "https") {
      return BadInput("expected a URL that starts with http://, https:// or /, got \"" + input.url +
                      "\"");
    }
    const size_t begin = mark + 3;
    const size_t end = std::min(url.find_first_of("/?", begin), url.size());
    authority = url.substr(begin, end - begin);
    // What a client makes of a URL: the origin form, with "/" for an empty path.
    const std::string_view target = url.substr(end);
    head.target =
        target.empty() || target.front() != '/' ? arena.Copy("/" + std::string(target)) : target;
  } else if (url != "*" && (url.empty() || url.front() != '/')) {
    return BadInput("expected a URL as http://host/path or a path as /path, got \"" + input.url +
                    "\"");
  }
  const bool has_host =
      std::any_of(input.headers.begin(), input.headers.end(),
                  [](const auto& header) { return EqualsIgnoreCase(header.first, "host"); });
  if (!has_host) head.fields.Add("Host", authority);
  return {};
}

Status ExplainedRequest::Read(const ExplainInput& input, const conf::GatewayConfig& gateway) {
  head.method_text = input.method;
  head.method = FindMethod(input.method);
  if (!IsToken(input.method)) {
    return BadInput("expected a method as GET, got \"" + input.method + "\"");
  }
  SLUICE_TRY(ReadUrl(input));
  for (const auto& [name, value] : input.headers) head.fields.Add(name, TrimOws(value));
  SLUICE_TRY(CheckRequest(head));
  if (head.method == Method::kConnect || head.method == Method::kTrace) {
    return ClientError(ErrorCode::kMethodNotAllowed,
                       "expected a method other than CONNECT and TRACE, got " + input.method);
  }
  const std::string client = input.client_ip.empty() ? "127.0.0.1" : input.client_ip;
  const auto ip = IpAddress::Parse(client);
  if (!ip) return BadInput("expected the IP address of a client, got \"" + client + "\"");
  view.peer_ip = *ip;
  view.client_ip = FindClientAddress(*ip, head.fields, gateway.trusted_proxies).ip;
  view.head = &head;
  view.host = NormalizeHost(head.authority, arena);
  SLUICE_ASSIGN_OR_RETURN(view.path, NormalizePath(head.path, arena));
  return {};
}

std::string Join(const std::vector<std::string>& items, std::string_view none) {
  std::string out;
  for (const std::string& item : items) out.append(out.empty() ? "" : ", ").append(item);
  return items.empty() ? std::string(none) : out;
}

// Lines of cells, padded to columns; the last column is as it comes.
std::string AlignColumns(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows) {
    for (size_t i = 0; i + 1 < row.size(); ++i) {
      out.append(row[i]).append(widths[i] + 2 - row[i].size(), ' ');
    }
    out.append(row.back()).append("\n");
  }
  return out;
}

const conf::UpstreamConfig* FindUpstream(const conf::Config& config,
                                         const conf::RouteConfig& route) {
  return route.upstream < 0 ? nullptr : &config.upstreams[static_cast<size_t>(route.upstream)];
}

std::string NodeAddress(const conf::NodeConfig& node) {
  if (node.port == 0) return node.host;
  const bool is_bare_v6 = node.host.find(':') != std::string::npos && node.host.front() != '[';
  return (is_bare_v6 ? "[" + node.host + "]" : node.host) + ":" + std::to_string(node.port);
}

// What was found, before it is printed in one of the two forms.
struct Explanation {
  const conf::Config& config;
  const RequestView& request;
  const conf::RouteConfig* route;
  std::vector<RouteCandidate> candidates;
  const Chain* chain;  // null: no plugin applies
  bool misses_body;    // some route compares a form field, which explain does not have

  std::string ToText() const;
  std::string ToJson() const;
  std::string UpstreamText() const;
  void WriteUpstream(JsonWriter& json) const;
  std::string PluginText() const;
  void WritePlugins(JsonWriter& json) const;
  // Does its `_meta.filter` let it run for this request? Empty: yes.
  std::string FilteredBy(const PluginInstance& instance) const;
  std::vector<const PluginInstance*> Plugins() const;
};

std::string PhasesOf(const PluginKind& kind) {
  constexpr std::array<std::string_view, kPhases> kNames = {
      "rewrite", "access", "before_proxy", "header_filter", "body_filter", "log"};
  std::string text;
  for (size_t i = 0; i < kPhases; ++i) {
    if (kind.has(static_cast<Phase>(i))) text.append(text.empty() ? "" : ", ").append(kNames[i]);
  }
  return text;
}

std::vector<const PluginInstance*> Explanation::Plugins() const {
  std::vector<const PluginInstance*> plugins;
  if (chain == nullptr) return plugins;
  for (const ChainPlugin& plugin : chain->global) plugins.push_back(plugin.instance);
  for (const ChainPlugin& plugin : chain->own) plugins.push_back(plugin.instance);
  return plugins;
}

std::string Explanation::FilteredBy(const PluginInstance& instance) const {
  std::string failed;
  if (instance.meta.filter == nullptr || instance.meta.filter->Matches(request, &failed)) return {};
  return failed.empty() ? "its filter is false" : failed;
}

std::string Explanation::PluginText() const {
  std::vector<std::vector<std::string>> rows;
  for (const PluginInstance* const instance : Plugins()) {
    const std::string filtered = FilteredBy(*instance);
    std::string note = instance->meta.shadow ? "shadow mode" : "enforced";
    if (!instance->kind->traits.enforces) note = "runs";
    if (!filtered.empty()) note = "does not run: " + filtered;
    rows.push_back({"  " + std::string(instance->kind->traits.name),
                    std::to_string(instance->meta.priority), std::string(instance->owner),
                    config.diagnostics.Locate(instance->position), PhasesOf(*instance->kind),
                    std::move(note)});
  }
  if (rows.empty()) return "Plugins   none\n";
  return "Plugins, by global rule and priority\n" + AlignColumns(rows);
}

void Explanation::WritePlugins(JsonWriter& json) const {
  json.Key("plugins").BeginArray();
  for (const PluginInstance* const instance : Plugins()) {
    const std::string filtered = FilteredBy(*instance);
    json.BeginObject().Member("name", instance->kind->traits.name);
    json.Member("priority", int64_t{instance->meta.priority}).Member("from", instance->owner);
    json.Member("position", config.diagnostics.Locate(instance->position));
    json.Member("phases", PhasesOf(*instance->kind)).Member("shadow", instance->meta.shadow);
    json.Key("filtered");
    filtered.empty() ? json.Null() : json.String(filtered);
    json.EndObject();
  }
  json.EndArray();
}

std::string Explanation::ToText() const {
  const RequestHead& head = *request.head;
  std::string out = "Request\n";
  out += AlignColumns({{"  method", std::string(head.method_text)},
                       {"  scheme", std::string(request.scheme)},
                       {"  host", std::string(request.host)},
                       {"  path", std::string(request.path)},
                       {"  query", head.has_query ? std::string(head.query) : "-"},
                       {"  client", request.client_ip.ToString()}});
  if (misses_body) out += "  (without a body: post_arg_ variables are absent)\n";
  out += candidates.empty() ? "\nNo candidate routes\n" : "\nCandidate routes, in order\n";
  std::vector<std::vector<std::string>> rows;
  for (const RouteCandidate& candidate : candidates) {
    rows.push_back({"  " + candidate.route->id, candidate.pattern,
                    config.diagnostics.Locate(candidate.route->position),
                    candidate.failed.empty() ? "matches" : candidate.failed});
  }
  out += AlignColumns(rows);
  if (route == nullptr) return out + "\nNo route matches: 404\n" + PluginText();
  out += "\nRoute     " + route->id + "  " + config.diagnostics.Locate(route->position) + "\n";
  return out + PluginText() + UpstreamText();
}

std::string Explanation::UpstreamText() const {
  const conf::UpstreamConfig* upstream = FindUpstream(config, *route);
  if (upstream == nullptr) return "Upstream  none: 503\n";
  std::string out = "Upstream  " + upstream->key + "  " +
                    std::string(conf::NameOf(upstream->balancer)) + "  " +
                    config.diagnostics.Locate(upstream->position) + "\n";
  std::vector<std::vector<std::string>> rows;
  for (const conf::NodeConfig& node : upstream->nodes) {
    std::string detail = "weight " + std::to_string(node.weight);
    if (node.priority != 0) detail += ", priority " + std::to_string(node.priority);
    rows.push_back({"  " + NodeAddress(node), std::move(detail)});
  }
  return out + AlignColumns(rows);
}

std::string Explanation::ToJson() const {
  const RequestHead& head = *request.head;
  std::string out;
  JsonWriter json(out);
  json.BeginObject().Key("request").BeginObject();
  json.Member("method", head.method_text).Member("scheme", request.scheme);
  json.Member("host", request.host).Member("path", request.path).Key("query");
  head.has_query ? json.String(head.query) : json.Null();
  json.Member("client_ip", request.client_ip.ToString()).Member("body_missing", misses_body);
  json.EndObject().Key("candidates").BeginArray();
  for (const RouteCandidate& candidate : candidates) {
    json.BeginObject().Member("id", candidate.route->id).Member("pattern", candidate.pattern);
    json.Member("position", config.diagnostics.Locate(candidate.route->position)).Key("failed");
    candidate.failed.empty() ? json.Null() : json.String(candidate.failed);
    json.EndObject();
  }
  json.EndArray().Key("route");
  if (route == nullptr) {
    json.Null();
  } else {
    json.BeginObject().Member("id", route->id);
    json.Member("position", config.diagnostics.Locate(route->position)).EndObject();
  }
  WritePlugins(json);
  json.Key("upstream");
  WriteUpstream(json);
  json.EndObject();
  return out + "\n";
}

void Explanation::WriteUpstream(JsonWriter& json) const {
  const conf::UpstreamConfig* upstream = route ? FindUpstream(config, *route) : nullptr;
  if (upstream == nullptr) {
    json.Null();
    return;
  }
  json.BeginObject().Member("key", upstream->key).Member("type", conf::NameOf(upstream->balancer));
  json.Member("position", config.diagnostics.Locate(upstream->position));
  json.Key("nodes").BeginArray();
  for (const conf::NodeConfig& node : upstream->nodes) {
    json.BeginObject().Member("address", NodeAddress(node));
    json.Member("weight", int64_t{node.weight}).Member("priority", int64_t{node.priority});
    json.EndObject();
  }
  json.EndArray().EndObject();
}

void WriteTexts(JsonWriter& json, std::string_view key, const std::vector<std::string>& texts) {
  json.Key(key).BeginArray();
  for (const std::string& text : texts) json.String(text);
  json.EndArray();
}

std::string ListRoutesAsJson(const conf::Config& config) {
  std::string out;
  JsonWriter json(out);
  json.BeginArray();
  for (const conf::RouteConfig& route : config.routes) {
    json.BeginObject().Member("id", route.id);
    if (!route.name.empty()) json.Member("name", route.name);
    WriteTexts(json, "uris", route.uris);
    WriteTexts(json, "hosts", route.hosts);
    WriteTexts(json, "methods", route.methods);
    json.Member("priority", int64_t{route.priority}).Member("status", route.enabled ? 1 : 0);
    json.Key("upstream");
    const conf::UpstreamConfig* upstream = FindUpstream(config, route);
    upstream == nullptr ? json.Null() : json.String(upstream->key);
    json.Member("position", config.diagnostics.Locate(route.position)).EndObject();
  }
  json.EndArray();
  return out + "\n";
}

}  // namespace

Result<std::string> ExplainRequest(const Snapshot& snapshot, const ExplainInput& input, bool json) {
  ExplainedRequest request;
  SLUICE_TRY(request.Read(input, snapshot.gateway()));
  Explanation explanation{
      snapshot.config(), request.view, nullptr, {}, nullptr, snapshot.router().needs_body()};
  explanation.route = snapshot.router().Explain(request.view, explanation.candidates).route;
  explanation.chain = explanation.route == nullptr ? snapshot.plugins().without_route()
                                                   : snapshot.chain(*explanation.route);
  return json ? explanation.ToJson() : explanation.ToText();
}

std::string ListRoutes(const conf::Config& config, bool json) {
  if (json) return ListRoutesAsJson(config);
  if (config.routes.empty()) return "No routes\n";
  std::vector<std::vector<std::string>> rows = {
      {"ID", "URIS", "HOSTS", "METHODS", "PRIORITY", "STATUS", "UPSTREAM", "POSITION"}};
  for (const conf::RouteConfig& route : config.routes) {
    const conf::UpstreamConfig* upstream = FindUpstream(config, route);
    rows.push_back({route.id, Join(route.uris, "-"), Join(route.hosts, "any"),
                    Join(route.methods, "any"), std::to_string(route.priority),
                    route.enabled ? "on" : "off", upstream == nullptr ? "none" : upstream->key,
                    config.diagnostics.Locate(route.position)});
  }
  return AlignColumns(rows);
}

}  // namespace sluice
