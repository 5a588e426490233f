// The keys that seal TLS session tickets, in memory that all workers share, so that each of them
// resumes what any of them has begun. Made by master, which also rotates them; workers only read.
// They survive reloads and the death of any worker, never reach a file or a core dump, and end
// with master: tickets of an earlier gateway lead to a full handshake.
//
//   slot    (epoch-1) % 4   epoch % 4   (epoch+1) % 4   (epoch+2) % 4
//   key     previous        current     next            being made by Rotate
//
// A reader uses the first three, so a rotation needs no lock: it writes where nobody looks, then
// moves the epoch.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "gateway/base/result.h"
#include "gateway/base/shared_memory.h"
#include "gateway/base/unique_fd.h"

namespace sluice {

struct TicketKey {
  std::array<unsigned char, 16> name;
  std::array<unsigned char, 32> cipher_key;
  std::array<unsigned char, 32> mac_key;
};

class TicketKeys {
 public:
  static Result<std::shared_ptr<TicketKeys>> Make();  // with fresh keys
  static Result<std::shared_ptr<const TicketKeys>> Map(const UniqueFd& fd);

  const UniqueFd& memory() const { return memory_.fd(); }  // to hand to workers, which Map it

  // By the process that has made them only. A key seals until the next rotation and opens until the
  // one after that, so a ticket should live as long as from one to the next.
  Status Rotate();

  TicketKey Current() const;
  // The key of that name: current, previous or next. None: its ticket is too old or not ours.
  std::optional<TicketKey> Find(std::span<const unsigned char, 16> name) const;

 private:
  struct Page;

  explicit TicketKeys(SharedMemory memory);

  SharedMemory memory_;
  Page* page_;
};

}  // namespace sluice
