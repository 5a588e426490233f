// From a plugin's class to its PluginKind: included by the .cc of each plugin, which makes itself
// known by SLUICE_PLUGIN(Class) at namespace scope.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "conf/plugin_upstreams.h"
#include "gateway/plugin/plugin.h"
#include "gateway/plugin/registry.h"

namespace sluice {

// A plugin that needs more than its fields to be made, or can refuse them, has
//   static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);
// which returns null after build.place.Fail(...); others a constructor from Config.
template <typename P>
std::unique_ptr<const Plugin> MakePlugin(const PluginBuild& build) {
  typename P::Config config;
  const size_t before = build.place.diagnostics.total();
  if (!conf::ReadFields(build.place, P::Fields(), config, "_meta")) return nullptr;
  if (build.place.diagnostics.total() != before) return nullptr;
  if constexpr (requires { P::Make(std::move(config), build); }) {
    return P::Make(std::move(config), build);
  } else {
    return std::make_unique<const P>(std::move(config));
  }
}

template <typename P>
constexpr uint8_t PhasesOf() {
  // The type of &P::Hook names the class that declares it: P only if P overrides it.
  uint8_t phases = 0;
  const auto add = [&phases](Phase phase, bool overridden) {
    if (overridden) phases |= static_cast<uint8_t>(1U << static_cast<unsigned>(phase));
  };
  add(Phase::kRewrite, !std::is_same_v<decltype(&P::OnRewrite), decltype(&Plugin::OnRewrite)>);
  add(Phase::kAccess, !std::is_same_v<decltype(&P::OnAccess), decltype(&Plugin::OnAccess)>);
  add(Phase::kBeforeProxy,
      !std::is_same_v<decltype(&P::OnBeforeProxy), decltype(&Plugin::OnBeforeProxy)>);
  add(Phase::kHeaderFilter,
      !std::is_same_v<decltype(&P::OnHeaderFilter), decltype(&Plugin::OnHeaderFilter)>);
  add(Phase::kBodyFilter,
      !std::is_same_v<decltype(&P::OnBodyFilter), decltype(&Plugin::OnBodyFilter)>);
  add(Phase::kLog, !std::is_same_v<decltype(&P::OnLog), decltype(&Plugin::OnLog)>);
  return phases;
}

template <typename P>
PluginKind KindOf() {
  static_assert(std::is_base_of_v<Plugin, P>);
  PluginKind kind{.traits = P::kTraits, .phases = PhasesOf<P>()};
  kind.make = [](const PluginBuild& build) { return MakePlugin<P>(build); };
  kind.schema = [] { return conf::SchemaOf(P::Fields()); };
  if constexpr (requires { P::MetadataFields(); }) {
    kind.check_metadata = [](const conf::Place& place) {
      typename P::Metadata metadata;
      return conf::ReadFields(place, P::MetadataFields(), metadata, "id");
    };
    kind.metadata_schema = [] { return conf::SchemaOf(P::MetadataFields()); };
  }
  if constexpr (requires { P::CredentialFields(); }) {
    kind.make_credential = [](const conf::Place& place) -> std::unique_ptr<Credential> {
      return P::MakeCredential(place);
    };
    kind.credential_schema = [] { return conf::SchemaOf(P::CredentialFields()); };
  }
  return kind;
}

// A plugin whose configuration holds upstreams has
//   static void FindUpstreams(const conf::Place& plugin, conf::UpstreamSink& sink);
template <typename P>
class PluginRegistration {
 public:
  PluginRegistration() : kind_(KindOf<P>()) {
    PluginRegistry::Add(kind_);
    if constexpr (requires { &P::FindUpstreams; }) {
      conf::RegisterPluginUpstreams(P::kTraits.name, &P::FindUpstreams);
    }
  }

 private:
  PluginKind kind_;
};

}  // namespace sluice

#define SLUICE_PLUGIN(type) static const ::sluice::PluginRegistration<type> registration_of_##type
