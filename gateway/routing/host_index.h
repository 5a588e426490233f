// The hosts of all routes as numbers, with the look-up from the most to the least specific: the
// exact host, then wildcards by the length of what follows their "*". Number 0 stands for "any
// host", the routes without one. Filled while the router is built, then only read.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/base/arena.h"
#include "gateway/base/result.h"
#include "gateway/routing/hash_index.h"

namespace sluice {

class HostIndex {
 public:
  static constexpr uint32_t kAnyHost = 0;
  static constexpr uint32_t kNone = HashIndex::kNone;
  static constexpr size_t kMaxHost = 255;

  HostIndex() { patterns_.emplace_back(); }

  // The number of a host pattern: "a.example", "*.example", "*". The error says what is wrong.
  Result<uint32_t> Add(std::string_view pattern);

  size_t size() const { return patterns_.size(); }
  std::string_view pattern(uint32_t host) const { return patterns_[host]; }  // empty: any host

  // The numbers that apply to one request's host, in order; kAnyHost comes last.
  class Cursor {
   public:
    Cursor(const HostIndex& index, std::string_view host) : index_(index), host_(host) {}
    uint32_t Next();  // kNone at the end

   private:
    enum class Stage : uint8_t { kExact, kWildcards, kAny, kDone };

    const HostIndex& index_;
    std::string_view host_;
    size_t suffix_ = 0;  // bytes of the suffix to try next
    Stage stage_ = Stage::kExact;
  };

 private:
  uint32_t Find(std::string_view text, bool is_wildcard) const;

  Arena texts_;
  std::vector<std::string_view> patterns_;  // by number, with the "*"
  HashIndex exact_;
  HashIndex wildcards_;                 // by what follows the "*"
  std::bitset<kMaxHost + 1> suffixes_;  // lengths that some wildcard has
};

}  // namespace sluice
