#include "gateway/snapshot/snapshot.h"

#include <utility>

namespace sluice {
namespace {

std::vector<std::optional<HashKey>> MakeHashKeys(const conf::Config& config,
                                                 conf::Diagnostics& diagnostics) {
  std::vector<std::optional<HashKey>> keys;
  for (const conf::UpstreamConfig& upstream : config.upstreams) {
    std::optional<HashKey>& key = keys.emplace_back();
    if (!upstream.hash_key) continue;
    auto made = HashKey::Make(*upstream.hash_key);
    if (made.has_value()) {
      key = *std::move(made);
    } else {
      diagnostics.Add(upstream.hash_key->position, upstream.hash_key->path, made.error().detail);
    }
  }
  return keys;
}

}  // namespace

std::shared_ptr<const Snapshot> Snapshot::Make(std::shared_ptr<const conf::Config> config,
                                               uint64_t revision, conf::Diagnostics& diagnostics) {
  const size_t before = diagnostics.total();
  auto hash_keys = MakeHashKeys(*config, diagnostics);
  auto router = Router::Make(*config, diagnostics);
  auto plugins = PluginChains::Make(*config, diagnostics);
  if (router == nullptr || plugins == nullptr || diagnostics.total() != before) return nullptr;
  auto snapshot = std::shared_ptr<Snapshot>(new Snapshot());
  snapshot->config_ = std::move(config);
  snapshot->router_ = std::move(router);
  snapshot->plugins_ = std::move(plugins);
  snapshot->hash_keys_ = std::move(hash_keys);
  snapshot->revision_ = revision;
  return snapshot;
}

}  // namespace sluice
