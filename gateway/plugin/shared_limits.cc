#include "gateway/plugin/shared_limits.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include <sys/random.h>
#include <unistd.h>

namespace sluice {
namespace {

using ratelimit::ConcurrencyLedger;
using ratelimit::KeyTable;

constexpr char kMemoryName[] = "limits";
constexpr size_t kPage = 4096;
constexpr size_t kSecretSize = 16;

size_t RoundUp(size_t size) { return (size + kPage - 1) / kPage * kPage; }
size_t TableSize(uint64_t keys) { return RoundUp(KeyTable::SizeFor(keys)); }
size_t LedgerSize() { return RoundUp(ConcurrencyLedger::SizeFor(SharedLimits::kLedgerLines)); }
size_t Size(uint64_t keys, uint32_t workers) {
  return kPage + TableSize(keys) + LedgerSize() * workers;
}

KeyedHash HashUnder(const SharedMemory& memory) {
  std::array<uint8_t, kSecretSize> secret;
  const auto* bytes = reinterpret_cast<const uint8_t*>(memory.data());
  std::copy_n(bytes, kSecretSize, secret.begin());
  return KeyedHash(secret);
}

}  // namespace

SharedLimits::SharedLimits(SharedMemory memory, uint64_t keys, uint32_t workers)
    : memory_(std::move(memory)),
      keys_(keys),
      workers_(workers),
      hash_(HashUnder(memory_)),
      table_(memory_.bytes().subspan(kPage, KeyTable::SizeFor(keys))) {}

Result<std::shared_ptr<SharedLimits>> SharedLimits::Make(uint64_t keys, uint32_t workers) {
  SLUICE_ASSIGN_OR_RETURN(SharedMemory memory,
                          SharedMemory::Make(kMemoryName, Size(keys, workers)));
  if (getrandom(memory.data(), kSecretSize, 0) != static_cast<ssize_t>(kSecretSize)) {
    return SystemError("random bytes for limits", errno);
  }
  return std::shared_ptr<SharedLimits>(new SharedLimits(std::move(memory), keys, workers));
}

Result<std::shared_ptr<SharedLimits>> SharedLimits::Map(const UniqueFd& fd, uint64_t keys,
                                                        uint32_t workers, uint32_t worker) {
  SLUICE_CHECK(worker < workers);
  SLUICE_ASSIGN_OR_RETURN(SharedMemory memory,
                          SharedMemory::Map(fd, kMemoryName, Size(keys, workers)));
  auto limits = std::shared_ptr<SharedLimits>(new SharedLimits(std::move(memory), keys, workers));
  limits->ledger_.emplace(limits->LedgerMemory(worker));
  return limits;
}

std::optional<KeyTable::Use> SharedLimits::ReadUse(const UniqueFd& memory, uint64_t keys,
                                                   ratelimit::TimePoint now) {
  // Not through a mapping, which would take memory for what nobody has written yet.
  const auto read = [&memory](std::span<std::byte> into, size_t offset) {
    const auto at = static_cast<off_t>(kPage + offset);
    return pread(memory.get(), into.data(), into.size(), at) == static_cast<ssize_t>(into.size());
  };
  return KeyTable::ReadUse(KeyTable::SizeFor(keys), read, now);
}

std::span<std::byte> SharedLimits::LedgerMemory(uint32_t worker) const {
  SLUICE_CHECK(worker < workers_);
  return memory_.bytes().subspan(kPage + TableSize(keys_) + LedgerSize() * worker,
                                 ConcurrencyLedger::SizeFor(kLedgerLines));
}

void SharedLimits::ClearLedger(uint32_t worker) {
  ConcurrencyLedger::Clear(LedgerMemory(worker), table_);
}

}  // namespace sluice
