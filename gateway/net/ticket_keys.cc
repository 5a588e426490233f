#include "gateway/net/ticket_keys.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sluice {

struct TicketKeys::Page {
  static constexpr size_t kSlots = 4;

  std::atomic<uint64_t> epoch;
  std::array<TicketKey, kSlots> keys;

  TicketKey& slot(uint64_t number) { return keys[number % kSlots]; }
};

namespace {

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

Result<TicketKeys::Page*> TicketKeys::MapPage(int fd, bool writable) {
  struct stat found {};
  if (fstat(fd, &found) != 0) return SystemError("session ticket keys", errno);
  if (found.st_size != static_cast<off_t>(sizeof(Page))) {
    return GatewayError(ErrorCode::kInternal, "shared session ticket keys of an unexpected size");
  }
  const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  void* memory = mmap(nullptr, sizeof(Page), protection, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return SystemError("map session ticket keys", errno);
  madvise(memory, sizeof(Page), MADV_DONTDUMP);
  // Best effort: the limit on locked memory may be zero.
  static_cast<void>(mlock(memory, sizeof(Page)));
  return static_cast<Page*>(memory);
}

Result<std::shared_ptr<TicketKeys>> TicketKeys::Make() {
  static_assert(std::atomic<uint64_t>::is_always_lock_free);
  UniqueFd memory(memfd_create("session-ticket-keys", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory) return SystemError("memory for session ticket keys", errno);
  if (ftruncate(memory.get(), sizeof(Page)) != 0) {
    return SystemError("memory for session ticket keys", errno);
  }
  // A shrunk file would make its readers die.
  if (fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return SystemError("memory for session ticket keys", errno);
  }
  SLUICE_ASSIGN_OR_RETURN(Page * page, MapPage(memory.get(), true));
  auto keys = std::shared_ptr<TicketKeys>(new TicketKeys(std::move(memory), page));
  for (TicketKey& key : page->keys) SLUICE_TRY(FillRandom(key));
  page->epoch.store(1, std::memory_order_release);
  return keys;
}

Result<std::shared_ptr<const TicketKeys>> TicketKeys::Map(const UniqueFd& memory) {
  SLUICE_ASSIGN_OR_RETURN(Page * page, MapPage(memory.get(), false));
  return std::shared_ptr<const TicketKeys>(new TicketKeys(UniqueFd(), page));
}

TicketKeys::~TicketKeys() { munmap(page_, sizeof(Page)); }

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
