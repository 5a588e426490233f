// Routes and services in APISIX's fields.
#include <algorithm>

#include "conf/decode.h"
#include "gateway/base/text.h"

namespace sluice::conf {
namespace {

struct UriPattern {
  std::optional<std::string> operator()(const Place& place) const {
    auto uri = Text{1, 4096}(place);
    if (!uri) return std::nullopt;
    if (*uri != "*" && !uri->starts_with('/')) {
      return place.Expected("a path that starts with / (or *)");
    }
    if (uri->find_first_of("?# ") != std::string::npos) {
      return place.Expected("a path without '?', '#' and spaces",
                            "the query is compared by vars: [[\"arg_name\", \"==\", \"value\"]]");
    }
    return uri;
  }
};

struct Method {
  std::optional<std::string> operator()(const Place& place) const {
    static const Choice<std::string> kMethods = [] {
      Choice<std::string> choice;
      for (const std::string_view name : {"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD",
                                          "OPTIONS", "CONNECT", "TRACE", "PURGE"}) {
        choice.values.emplace_back(name, name);
      }
      return choice;
    }();
    return kMethods(place);
  }
};

struct Status {
  std::optional<bool> operator()(const Place& place) const {
    const auto value = ReadInteger(place, 0, 1);
    return value ? std::optional(*value == 1) : std::nullopt;
  }
};

struct VarsList {
  std::optional<const Node*> operator()(const Place& place) const {
    if (place.node.is_list()) return &place.node;
    return place.Expected("a list of conditions such as [[\"arg_name\", \"==\", \"value\"]]");
  }
};

struct InlineUpstream {
  std::optional<std::optional<UpstreamConfig>> operator()(const Place& place) const {
    return DecodeUpstream(place);
  }
};

// A field of the route itself inside the draft.
template <typename Member, typename Type>
Field<RouteDraft> BindRoute(std::string_view name, Member RouteConfig::*member, Type type) {
  return {name, [member, type](const Place& place, RouteDraft& draft) {
            if (auto value = type(place)) draft.route.*member = *std::move(value);
          }};
}

// A reference to another object, with its place for the message when there is no such object.
template <typename T>
Field<T> Reference(std::string_view name, std::string T::*id, Position T::*position) {
  return {name, [id, position](const Place& place, T& out) {
            if (auto value = Id{}(place)) out.*id = *std::move(value);
            out.*position = place.node.position;
          }};
}

const Fields<RouteDraft>& RouteFields() {
  using T = RouteDraft;
  using Route = RouteConfig;
  static const Fields<T> kFields = [] {
    Fields<T> fields = {
        BindRoute("id", &Route::id, Id{}),
        BindRoute("name", &Route::name, Text{1, 256}),
        BindRoute("desc", &Route::desc, Text{0, 256}),
        Bind("uri", &T::single_uri, OneOf<UriPattern>{}),
        BindRoute("uris", &Route::uris, ListOf<UriPattern>{.item = {}, .min = 1}),
        Bind("host", &T::single_host, OneOf<HostPattern>{}),
        BindRoute("hosts", &Route::hosts, ListOf<HostPattern>{.item = {}, .min = 1}),
        BindRoute("methods", &Route::methods, ListOf<Method>{}),
        Bind("remote_addr", &T::single_address, OneOf<AddressRange>{}),
        BindRoute("remote_addrs", &Route::remote_addrs, ListOf<AddressRange>{.item = {}, .min = 1}),
        BindRoute("vars", &Route::vars, VarsList{}),
        BindRoute("priority", &Route::priority, Integer<int32_t>{}),
        BindRoute("status", &Route::enabled, Status{}),
        BindRoute("timeout", &Route::timeout, Timeouts{}),
        Bind("upstream", &T::upstream, InlineUpstream{}),
        Reference("upstream_id", &T::upstream_id, &T::upstream_id_position),
        Reference("service_id", &T::service_id, &T::service_id_position),
        Bind("plugins", &T::plugins, PluginsMap{}),
        Reference("plugin_config_id", &T::plugin_config_id, &T::plugin_config_id_position),
        Bind("enable_websocket", &T::enable_websocket, Boolean{}),
        NotBuilt<T>("filter_func"),
        NotBuilt<T>("script"),
        NotBuilt<T>("script_id"),
    };
    AddDescriptive(fields);
    return fields;
  }();
  return kFields;
}

const Fields<ServiceConfig>& ServiceFields() {
  using T = ServiceConfig;
  static const Fields<T> kFields = [] {
    Fields<T> fields = {
        Bind("id", &T::id, Id{}),
        Bind("name", &T::name, Text{1, 256}),
        Accept<T>("desc", Text{0, 256}),
        Bind("hosts", &T::hosts, ListOf<HostPattern>{.item = {}, .min = 1}),
        Bind("upstream", &T::upstream, InlineUpstream{}),
        Reference("upstream_id", &T::upstream_id, &T::upstream_id_position),
        Bind("plugins", &T::plugins, PluginsMap{}),
        Bind("enable_websocket", &T::enable_websocket, Boolean{}),
        NotBuilt<T>("script"),
    };
    AddDescriptive(fields);
    return fields;
  }();
  return kFields;
}

// Of two fields that mean the same, at most one may be there.
bool CheckOneOf(const Place& place, std::string_view one, std::string_view other) {
  const Node* first = place.node.Find(one);
  const Node* second = place.node.Find(other);
  if (first != nullptr && second != nullptr) {
    place.Fail("expected \"" + std::string(one) + "\" or \"" + std::string(other) + "\", got both");
  }
  return first != nullptr || second != nullptr;
}

template <typename T>
void Append(std::vector<T>& to, std::vector<T>& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

}  // namespace

RouteDraft DecodeRoute(const Place& place) {
  RouteDraft draft;
  RouteConfig& route = draft.route;
  route.position = place.node.position;
  if (!ReadFields(place, RouteFields(), draft)) return draft;
  if (!CheckOneOf(place, "uri", "uris")) {
    place.Fail("expected the field \"uri\" or \"uris\", which is missing");
  }
  CheckOneOf(place, "host", "hosts");
  CheckOneOf(place, "remote_addr", "remote_addrs");
  const bool has_upstream = CheckOneOf(place, "upstream", "upstream_id");
  if (!has_upstream && place.node.Find("service_id") == nullptr &&
      place.node.Find("plugins") == nullptr && place.node.Find("plugin_config_id") == nullptr) {
    place.Fail("expected one of \"upstream\", \"upstream_id\" and \"service_id\"; all are missing");
  }
  Append(route.uris, draft.single_uri);
  Append(route.hosts, draft.single_host);
  Append(route.remote_addrs, draft.single_address);
  return draft;
}

ServiceConfig DecodeService(const Place& place) {
  ServiceConfig service;
  service.position = place.node.position;
  if (ReadFields(place, ServiceFields(), service)) CheckOneOf(place, "upstream", "upstream_id");
  return service;
}

}  // namespace sluice::conf
