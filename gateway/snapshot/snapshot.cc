#include "gateway/snapshot/snapshot.h"

#include <utility>

namespace sluice {

std::shared_ptr<const Snapshot> Snapshot::Make(std::shared_ptr<const conf::Config> config,
                                               uint64_t revision, conf::Diagnostics& diagnostics) {
  auto router = Router::Make(*config, diagnostics);
  if (router == nullptr) return nullptr;
  auto snapshot = std::shared_ptr<Snapshot>(new Snapshot());
  snapshot->config_ = std::move(config);
  snapshot->router_ = std::move(router);
  snapshot->revision_ = revision;
  return snapshot;
}

}  // namespace sluice
