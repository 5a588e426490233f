#include "gateway/net/ticket_keys.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include <sys/mman.h>
#include <sys/random.h>

namespace sluice {

struct TicketKeys::Page {
  static constexpr size_t kSlots = 4;

  std::atomic<uint64_t> epoch;
  std::array<TicketKey, kSlots> keys;

  TicketKey& slot(uint64_t number) { return keys[number % kSlots]; }
};

namespace {

constexpr char kMemoryName[] = "session ticket keys";

Status FillRandom(TicketKey& key) {
  for (const std::span<unsigned char> part :
       {std::span<unsigned char>(key.name), std::span<unsigned char>(key.cipher_key),
        std::span<unsigned char>(key.mac_key)}) {
    if (getrandom(part.data(), part.size(), 0) != static_cast<ssize_t>(part.size())) {
      return SystemError("random bytes for session tickets", errno);
    }
  }
  return {};
}

}  // namespace

TicketKeys::TicketKeys(SharedMemory memory)
    : memory_(std::move(memory)), page_(reinterpret_cast<Page*>(memory_.data())) {
  madvise(page_, sizeof(Page), MADV_DONTDUMP);
  // Best effort: the limit on locked memory may be zero.
  static_cast<void>(mlock(page_, sizeof(Page)));
}

Result<std::shared_ptr<TicketKeys>> TicketKeys::Make() {
  static_assert(std::atomic<uint64_t>::is_always_lock_free);
  SLUICE_ASSIGN_OR_RETURN(SharedMemory memory, SharedMemory::Make(kMemoryName, sizeof(Page)));
  auto keys = std::shared_ptr<TicketKeys>(new TicketKeys(std::move(memory)));
  for (TicketKey& key : keys->page_->keys) SLUICE_TRY(FillRandom(key));
  keys->page_->epoch.store(1, std::memory_order_release);
  return keys;
}

Result<std::shared_ptr<const TicketKeys>> TicketKeys::Map(const UniqueFd& fd) {
  SLUICE_ASSIGN_OR_RETURN(SharedMemory memory, SharedMemory::Map(fd, kMemoryName, sizeof(Page),
                                                                 SharedMemory::Access::kRead));
  return std::shared_ptr<const TicketKeys>(new TicketKeys(std::move(memory)));
}

Status TicketKeys::Rotate() {
  const uint64_t epoch = page_->epoch.load(std::memory_order_relaxed);
  SLUICE_TRY(FillRandom(page_->slot(epoch + 2)));
  page_->epoch.store(epoch + 1, std::memory_order_release);
  return {};
}

TicketKey TicketKeys::Current() const {
  return page_->slot(page_->epoch.load(std::memory_order_acquire));
}

std::optional<TicketKey> TicketKeys::Find(std::span<const unsigned char, 16> name) const {
  const uint64_t epoch = page_->epoch.load(std::memory_order_acquire);
  for (const uint64_t number : {epoch, epoch - 1, epoch + 1}) {
    const TicketKey& key = page_->slot(number);
    if (std::equal(name.begin(), name.end(), key.name.begin())) return key;
  }
  return std::nullopt;
}

}  // namespace sluice
