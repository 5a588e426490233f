// The PROXY protocol: what has been decided about the first bytes of a connection does not change
// with those that follow, and an address that was read is written and read again as the same.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "gateway/net/proxy_protocol.h"

namespace {

using sluice::ProxyHeader;
using State = ProxyHeader::State;

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken property: %s\n", what);
  std::abort();
}

void CheckWriting(const ProxyHeader& header) {
  for (const int version : {1, 2}) {
    const std::string bytes = sluice::WriteProxyHeader(version, header.source, header.destination);
    const auto again = sluice::ParseProxyHeader(bytes);
    Require(again.has_value() && again->state == State::kComplete, "what we write is complete");
    Require(again->size == bytes.size(), "what we write is the header alone");
    const bool known = !header.source.ip().is_none() && !header.destination.ip().is_none();
    Require(again->has_addresses == known, "IP addresses are written, others not");
    if (!known) continue;
    Require(again->source == header.source, "the client stays who it is");
    Require(again->destination == header.destination, "the destination stays the same");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string copy(reinterpret_cast<const char*>(data), std::min<size_t>(size, 8192));
  const std::string_view bytes = copy;
  const auto whole = sluice::ParseProxyHeader(bytes);
  if (whole.has_value() && whole->state == State::kComplete) {
    Require(whole->size <= bytes.size(), "a complete header has come");
    Require(whole->size <= ProxyHeader::kMaxSizeV2, "a header is bounded");
    if (whole->has_addresses) CheckWriting(*whole);
  }
  if (whole.has_value() && whole->state == State::kNeedMore) {
    Require(bytes.size() < ProxyHeader::kMaxSizeV2, "nobody waits for ever");
  }
  // Every beginning is either undecided or decided as the whole is.
  for (size_t cut = 0; cut < std::min<size_t>(bytes.size(), 600); ++cut) {
    const auto part = sluice::ParseProxyHeader(bytes.substr(0, cut));
    if (!part.has_value()) {
      Require(!whole.has_value(), "a refusal is final");
      continue;
    }
    if (part->state == State::kNeedMore) continue;
    Require(whole.has_value() && part->state == whole->state, "a decision is final");
    Require(part->size == whole->size, "a header does not grow");
  }
  return 0;
}
