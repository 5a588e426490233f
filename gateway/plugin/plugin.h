// The contract of a plugin. One class is one plugin: its object is what one place of the
// configuration says, constant from then on, shared by all requests of a worker; what belongs to a
// request is in RequestContext::State, what workers share is in shared memory.
//
//   class Hello final : public Plugin {
//    public:
//     static constexpr PluginTraits kTraits{.name = "hello", .priority = 50, .summary = "Greets."};
//     struct Config {
//       std::string greeting = "hello";
//     };
//     static const conf::Fields<Config>& Fields();          // conf/declaration.h
//     explicit Hello(Config config) : config_(std::move(config)) {}
//     Verdict OnAccess(RequestContext& request) const override;
//     ...
//   };
//   SLUICE_PLUGIN(Hello);  // in the .cc, from gateway/plugin/registration.h
//
// The hooks that a class overrides are the phases in which it runs. How to write and test one:
// docs/plugins/README.md.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "conf/declaration.h"
#include "gateway/base/keyed_hash.h"
#include "gateway/observe/access_log.h"
#include "gateway/observe/series_labels.h"
#include "gateway/plugin/request_context.h"
#include "gateway/plugin/verdict.h"

namespace sluice {

class Plugin {
 public:
  virtual ~Plugin() = default;

  virtual Verdict OnRewrite(RequestContext&) const { return Verdict::kContinue; }
  virtual Verdict OnAccess(RequestContext&) const { return Verdict::kContinue; }
  // An attempt at `node` ("10.0.0.1:80") is about to be sent.
  virtual void OnBeforeProxy(RequestContext&, std::string_view /*node*/) const {}
  // A reply instead of this response is possible; a suspension holds the response back.
  virtual Verdict OnHeaderFilter(RequestContext&, ResponseContext&) const {
    return Verdict::kContinue;
  }
  virtual void OnBodyFilter(RequestContext&, BodyPiece&) const {}
  virtual void OnLog(RequestContext&, const AccessRecord&) const {}

  // The request's body is collected before the plugin's rewrite or access, up to so many bytes
  // (more: 413), once the plugins in front have let the request pass. 0: it does not read it.
  virtual uint64_t request_body_limit() const { return 0; }
  // The same for a plugin that can do without: a body that is longer, or of which nobody knows how
  // long it is, passes by; request.body() is empty then.
  virtual uint64_t request_body_wish() const { return 0; }
  // So many first bytes of it are copied as they pass, for OnLog: request.body_sample().
  virtual uint64_t request_body_sample() const { return 0; }

  // Where it stands the gateway counts the route's requests in series of their own. Null: it does
  // not ask for that.
  virtual const RouteSeries* route_series() const { return nullptr; }
};

struct PluginTraits {
  std::string_view name;          // APISIX's
  int priority = 0;               // APISIX's; higher is earlier
  std::string_view summary;       // a sentence for the docs
  std::string_view example = {};  // of its configuration, in YAML, for the docs; a test loads it
  FailureMode on_failure = FailureMode::kClosed;
  // It decides about requests (and changes them little), so that `_meta.mode: shadow` makes sense:
  // it decides, and the request goes on whatever it says.
  bool enforces = false;
  bool authenticates = false;  // sets the consumer; is not taken over from a consumer's plugins
  // It encodes the body (compression): it filters responses behind all that read or change them.
  bool encodes = false;
};

// What a consumer or credential has for an authentication plugin: its key, and what the plugin's
// own type derived from this adds. Owned by the snapshot.
struct Credential {
  virtual ~Credential() = default;
  std::string key;                     // by which a request names it; not kept once it is indexed
  const Consumer* consumer = nullptr;  // whose it is
  std::string id;                      // of APISIX's object; empty: it is the consumer's own
};

// All credentials for one plugin, by a hash of their keys: a key may be a secret, and who does not
// know the key of the hash learns nothing from the time that a look-up takes.
class CredentialIndex {
 public:
  static Hash128 HashOf(std::string_view key) { return KeyedHash::OfProcess().Of(key); }

  virtual const Credential* Find(const Hash128& key_hash) const = 0;  // null: there is none
  // One of them, always the same for a hash: so that a key that nobody has can cost what others do.
  // Null: there are none.
  virtual const Credential* Sample(const Hash128& hash) const = 0;
  virtual const Consumer* FindConsumer(std::string_view name) const = 0;  // by username

 protected:
  ~CredentialIndex() = default;
};

// What a plugin can ask for while it is made. Valid until then, but for `credentials`, which lives
// as long as the plugin.
struct PluginBuild {
  const conf::Place& place;  // of its configuration: place.Fail(...) refuses it, with the position
  std::string_view owner;    // "route/r1", "consumer/jack": the same after a reload
  const conf::Node* metadata = nullptr;  // its plugin_metadata; null: none
  const CredentialIndex* credentials = nullptr;
  const std::unordered_map<const conf::Node*, int32_t>* upstreams = nullptr;

  // For RequestContext::SetUpstream: the upstream, or the id of one, that the class's FindUpstreams
  // has given at that node; -1: none.
  int32_t UpstreamAt(const conf::Node& node) const {
    if (upstreams == nullptr) return -1;
    const auto found = upstreams->find(&node);
    return found == upstreams->end() ? -1 : found->second;
  }
};

// A class, as the registry knows it.
struct PluginKind {
  PluginTraits traits;
  uint8_t phases = 0;  // bit by Phase
  // Null when the configuration was refused.
  std::unique_ptr<const Plugin> (*make)(const PluginBuild& build) = nullptr;
  std::vector<conf::FieldSchema> (*schema)() = nullptr;
  // Null where the class has none.
  bool (*check_metadata)(const conf::Place& place) = nullptr;
  std::vector<conf::FieldSchema> (*metadata_schema)() = nullptr;
  std::unique_ptr<Credential> (*make_credential)(const conf::Place& place) = nullptr;
  std::vector<conf::FieldSchema> (*credential_schema)() = nullptr;
  const PluginKind* next = nullptr;

  bool has(Phase phase) const { return (phases >> static_cast<unsigned>(phase) & 1) != 0; }
};

// Reads plugin_metadata as a P::Metadata (with P::MetadataFields()); all defaults without.
template <typename P>
typename P::Metadata ReadMetadata(const PluginBuild& build) {
  typename P::Metadata metadata;
  if (build.metadata != nullptr) {
    const conf::Place place{*build.metadata, build.place.diagnostics, nullptr, "plugin_metadata"};
    conf::ReadFields(place, P::MetadataFields(), metadata, "id");
  }
  return metadata;
}

}  // namespace sluice
