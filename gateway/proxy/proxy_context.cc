#include "gateway/proxy/proxy_context.h"

#include <array>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <utility>

#include <sys/random.h>

#include "gateway/proxy/client_connection.h"
#include "gateway/proxy/exchange.h"
#include "gateway/proxy/own_request.h"

namespace sluice {
namespace {

// Exchanges kept for reuse; above it they are freed.
constexpr size_t kFreeExchanges = 256;
constexpr size_t kFreeDecoders = 64;
constexpr size_t kInternedAddresses = 64;

uint64_t RandomSeed(uint32_t worker_index) {
  uint64_t seed = 0;
  if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed)) {
    seed = static_cast<uint64_t>(WallNow().time_since_epoch().count());
  }
  return seed ^ (uint64_t{worker_index} << 32);
}

// SplitMix64 (Steele, Lea, Flood 2014): a counter and a mixer, no two equal in a period of 2^64.
uint64_t Mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

}  // namespace

ProxyContext::ProxyContext(Loop& event_loop, uint32_t index,
                           std::shared_ptr<MetricSlabs> metric_slabs)
    : loop(event_loop),
      worker_index(index),
      slabs(std::move(metric_slabs)),
      counters(slabs->own()),
      tick_scale(slabs->scale()),
      id_state_(RandomSeed(index)) {
  http2_limits.extended_connect = true;
}

ProxyContext::~ProxyContext() = default;

std::unique_ptr<Exchange> ProxyContext::TakeExchange() {
  if (free_exchanges_.empty()) return std::make_unique<Exchange>(*this);
  auto exchange = std::move(free_exchanges_.back());
  free_exchanges_.pop_back();
  return exchange;
}

void ProxyContext::GiveExchange(std::unique_ptr<Exchange> exchange) {
  exchange->Reset();
  free_exchanges_.push_back(std::move(exchange));
  if (free_exchanges_.size() <= kFreeExchanges) return;
  // Not this one: its functions may be on the stack, and look whether it is still theirs.
  free_exchanges_.erase(free_exchanges_.begin());
}

std::unique_ptr<Http1Decoder> ProxyContext::TakeDecoder(Http1Decoder::Role role) {
  auto& free = free_decoders_[static_cast<size_t>(role)];
  if (free.empty()) {
    const bool server = role == Http1Decoder::Role::kServer;
    return std::make_unique<Http1Decoder>(role, server ? client_limits : upstream_limits);
  }
  auto decoder = std::move(free.back());
  free.pop_back();
  return decoder;
}

void ProxyContext::GiveDecoder(std::unique_ptr<Http1Decoder> decoder) {
  auto& free = free_decoders_[static_cast<size_t>(decoder->role())];
  if (free.size() < kFreeDecoders) free.push_back(std::move(decoder));
}

const SocketAddress* ProxyContext::FindInterned(const SocketAddress& address) const {
  for (const auto& known : addresses_) {
    if (known->raw_size() == address.raw_size() &&
        std::memcmp(known->raw(), address.raw(), address.raw_size()) == 0) {
      return known.get();
    }
  }
  return nullptr;
}

const SocketAddress& ProxyContext::Intern(const SocketAddress& address) {
  if (const SocketAddress* known = FindInterned(address)) return *known;
  addresses_.push_back(std::make_unique<const SocketAddress>(address));
  return *addresses_.back();
}

const SocketAddress& ProxyContext::InternLocal(const SocketAddress& address,
                                               const SocketAddress& listener) {
  if (const SocketAddress* known = FindInterned(address)) return *known;
  return addresses_.size() < kInternedAddresses ? Intern(address) : listener;
}

void ProxyContext::Reap(UpstreamSocket& connection) {
  delete &connection;
  if (on_connection_closed) on_connection_closed();
}

void ProxyContext::Reap(ClientConnection& connection) {
  delete &connection;
  --connections_open;
  counters.present.connections.Set(connections_open);
  if (on_connection_closed) on_connection_closed();
}

RequestId ProxyContext::NextRequestId() {
  constexpr uint64_t kGoldenGamma = 0x9e3779b97f4a7c15;
  const uint64_t high = Mix(id_state_ += kGoldenGamma);
  return {high, Mix(id_state_ += kGoldenGamma)};
}

std::string_view ProxyContext::HttpDate() {
  const std::time_t now = std::time(nullptr);
  if (now == date_second_) return date_;
  static constexpr std::array<const char*, 7> kDays = {"Sun", "Mon", "Tue", "Wed",
                                                       "Thu", "Fri", "Sat"};
  static constexpr std::array<const char*, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[64];
  const int size = std::snprintf(text, sizeof(text), "%s, %02d %s %04d %02d:%02d:%02d GMT",
                                 kDays[static_cast<size_t>(parts.tm_wday)], parts.tm_mday,
                                 kMonths[static_cast<size_t>(parts.tm_mon)], parts.tm_year + 1900,
                                 parts.tm_hour, parts.tm_min, parts.tm_sec);
  date_.assign(text, static_cast<size_t>(size));
  date_second_ = now;
  return date_;
}

}  // namespace sluice
