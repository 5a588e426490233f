// A whole document: the sections, the ids, and what refers to what.
#include "conf/resources.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "conf/decode.h"
#include "conf/decode_plugins.h"
#include "conf/document.h"
#include "conf/id_table.h"
#include "conf/plugin_upstreams.h"

namespace sluice::conf {
namespace {

class Decoder {
 public:
  Decoder(Config& config, Diagnostics& diagnostics)
      : config_(config),
        diagnostics_(diagnostics),
        upstream_ids_("upstreams", diagnostics),
        service_ids_("services", diagnostics),
        route_ids_("routes", diagnostics),
        ssl_ids_("ssls", diagnostics),
        plugins_(config, diagnostics) {
    plugins_.on_plugin = [this](const Place& plugin, const std::string& owner) {
      AddPluginUpstreams(plugin, owner);
    };
  }

  void Run();

 private:
  class PluginUpstreams;
  struct Service {
    std::string id;
    std::string name;
    std::vector<std::string> hosts;
    int32_t upstream = -1;
    bool enable_websocket = false;
    int32_t plugins = -1;
  };

  void AddSsl(const Place& place);
  void AddUpstream(const Place& place);
  void AddService(const Place& place);
  void AddRoute(const Place& place);
  void AddPluginUpstreams(const Place& plugin, const std::string& owner);
  void ResolveCertificate(UpstreamTlsConfig& tls);
  int32_t AddInline(UpstreamConfig upstream, std::string key);

  Config& config_;
  Diagnostics& diagnostics_;
  IdTable upstream_ids_, service_ids_, route_ids_, ssl_ids_;
  std::unordered_map<std::string, Position> server_names_;
  std::vector<Service> services_;
  PluginDecoder plugins_;
};

void Decoder::Run() {
  const Place root{config_.document, diagnostics_};
  if (!root.node.is_map()) {
    root.Expected("a map with routes");
    return;
  }
  CheckSections(root);
  const Node* gateway = root.node.Find("gateway");
  if (gateway != nullptr) {
    const Place place{*gateway, diagnostics_, &root, "gateway"};
    config_.gateway = DecodeGateway(&place);
  } else {
    config_.gateway = DecodeGateway(nullptr);
  }
  ForEach(root, "ssls", [this](const Place& place) { AddSsl(place); });
  ForEach(root, "upstreams", [this](const Place& place) { AddUpstream(place); });
  plugins_.Run(root);
  ForEach(root, "services", [this](const Place& place) { AddService(place); });
  ForEach(root, "routes", [this](const Place& place) { AddRoute(place); });
}

void Decoder::AddSsl(const Place& place) {
  SslConfig ssl = DecodeSsl(place);
  if (ssl.id.empty()) ssl.id = ssl_ids_.Generate(place.node, {"sni", "snis", "cert"});
  ssl_ids_.Add(ssl.id, static_cast<int32_t>(config_.ssls.size()), place);
  for (const std::string& name : ssl.snis) {
    if (!ssl.enabled) break;
    const auto [before, added] = server_names_.emplace(name, ssl.position);
    if (added) continue;
    place.Fail("the name " + name + " is there twice in ssls",
               "the first is at " + diagnostics_.Locate(before->second) +
                   "; certificates of several kinds for a name go into one object (certs, keys)");
  }
  config_.ssls.push_back(std::move(ssl));
}

// The certificate that an upstream refers to.
void Decoder::ResolveCertificate(UpstreamTlsConfig& tls) {
  if (tls.client_cert_id.empty()) return;
  const std::string path = tls.path + ".client_cert_id";
  const auto index = ssl_ids_.Find(tls.client_cert_id);
  if (!index) {
    diagnostics_.Add(tls.position, path,
                     "there is no object with the id \"" + tls.client_cert_id + "\"",
                     ssl_ids_.Candidates(tls.client_cert_id));
  } else if (!config_.ssls[static_cast<size_t>(*index)].for_upstreams) {
    diagnostics_.Add(tls.position, path, "expected an ssl object of type client");
  } else {
    tls.client_cert = *index;
  }
}

int32_t Decoder::AddInline(UpstreamConfig upstream, std::string key) {
  ResolveCertificate(upstream.tls);
  upstream.key = std::move(key);
  config_.upstreams.push_back(std::move(upstream));
  return static_cast<int32_t>(config_.upstreams.size() - 1);
}

void Decoder::AddUpstream(const Place& place) {
  UpstreamConfig upstream = DecodeUpstream(place);
  if (upstream.id.empty()) upstream.id = upstream_ids_.Generate(place.node, {"name", "nodes"});
  const std::string id = upstream.id;
  upstream_ids_.Add(id, AddInline(std::move(upstream), "upstream/" + id), place);
}

void Decoder::AddService(const Place& place) {
  ServiceConfig config = DecodeService(place);
  if (config.id.empty()) config.id = service_ids_.Generate(place.node, {"name", "hosts"});
  Service service{.id = config.id,
                  .name = std::move(config.name),
                  .hosts = std::move(config.hosts),
                  .enable_websocket = config.enable_websocket,
                  .plugins = plugins_.Add(place, config.plugins, "service/" + config.id)};
  if (config.upstream) {
    service.upstream = AddInline(*std::move(config.upstream), "service/" + config.id);
  } else if (!config.upstream_id.empty()) {
    service.upstream = upstream_ids_.Resolve(place, config.upstream_id, config.upstream_id_position,
                                             "upstream_id");
  }
  service_ids_.Add(config.id, static_cast<int32_t>(services_.size()), place);
  services_.push_back(std::move(service));
}

void Decoder::AddRoute(const Place& place) {
  RouteDraft draft = DecodeRoute(place);
  RouteConfig& route = draft.route;
  if (route.id.empty()) {
    route.id = route_ids_.Generate(
        place.node, {"name", "uri", "uris", "host", "hosts", "methods", "remote_addr",
                     "remote_addrs", "vars", "priority", "service_id"});
  }
  route_ids_.Add(route.id, static_cast<int32_t>(config_.routes.size()), place);
  int32_t service_plugins = -1;
  if (!draft.service_id.empty()) {
    const int32_t index =
        service_ids_.Resolve(place, draft.service_id, draft.service_id_position, "service_id");
    if (index >= 0) {
      const Service& service = services_[static_cast<size_t>(index)];
      route.upstream = service.upstream;
      route.service_id = service.id;
      route.service_name = service.name;
      if (route.hosts.empty()) route.hosts = service.hosts;
      route.enable_websocket = service.enable_websocket;
      service_plugins = service.plugins;
    }
  }
  route.plugin_sets = plugins_.OfRoute(place, draft, service_plugins);
  if (draft.enable_websocket) route.enable_websocket = *draft.enable_websocket;
  if (draft.upstream) {
    route.upstream = AddInline(*std::move(draft.upstream), "route/" + route.id);
  } else if (!draft.upstream_id.empty()) {
    route.upstream =
        upstream_ids_.Resolve(place, draft.upstream_id, draft.upstream_id_position, "upstream_id");
  }
  // "*" among the hosts is the same as no condition on the host.
  if (std::find(route.hosts.begin(), route.hosts.end(), "*") != route.hosts.end()) {
    route.hosts.clear();
  }
  config_.routes.push_back(std::move(route));
}

class Decoder::PluginUpstreams final : public UpstreamSink {
 public:
  PluginUpstreams(Decoder& decoder, std::string owner)
      : decoder_(decoder), owner_(std::move(owner)) {}

  void AddInline(const Place& upstream) override { Add(upstream, DecodeUpstream(upstream)); }
  void Add(const Place& place, UpstreamConfig upstream) override {
    // Identities follow the order, as those of nodes in lists do.
    std::string key = owner_ + "/" + std::to_string(++count_);
    Remember(place, decoder_.AddInline(std::move(upstream), std::move(key)));
  }
  void AddReference(const Place& id) override {
    const auto text = Id{}(id);
    if (!text) return;
    Remember(id, decoder_.upstream_ids_.Resolve(*id.parent, *text, id.node.position, id.key));
  }

 private:
  void Remember(const Place& place, int32_t upstream) {
    if (upstream >= 0) decoder_.config_.plugin_upstreams.emplace(&place.node, upstream);
  }

  Decoder& decoder_;
  const std::string owner_;
  int count_ = 0;
};

void Decoder::AddPluginUpstreams(const Place& plugin, const std::string& owner) {
  const FindUpstreams find = FindPluginUpstreams(plugin.key);
  if (find == nullptr) return;
  PluginUpstreams upstreams(*this, owner + "/" + std::string(plugin.key));
  find(plugin, upstreams);
}

}  // namespace

std::shared_ptr<const Config> Decode(Node document, Diagnostics& diagnostics) {
  auto config = std::make_shared<Config>();
  config->document = std::move(document);
  Decoder(*config, diagnostics).Run();
  if (!diagnostics.empty()) return nullptr;
  // Only the names are needed from here on; the texts may be many megabytes.
  for (const Source& source : diagnostics.sources()) config->diagnostics.AddSource(source.name, {});
  return config;
}

std::shared_ptr<const Config> DecodeDocument(std::string_view json, Diagnostics& diagnostics) {
  const uint32_t file = diagnostics.AddSource("<document>", std::string(json));
  Node document = ParseJson(json, file, diagnostics);
  if (!diagnostics.empty()) return nullptr;
  return Decode(std::move(document), diagnostics);
}

}  // namespace sluice::conf
