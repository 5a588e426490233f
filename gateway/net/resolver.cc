#include "gateway/net/resolver.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <unordered_map>
#include <utility>

#include <ares.h>
#include <netdb.h>
#include <netinet/in.h>
#include <uv.h>

#include "gateway/base/text.h"
#include "gateway/net/watchers.h"

namespace sluice {
namespace {

constexpr Duration kHostsTtl = seconds(30);

Error ResolveError(std::string_view name, std::string_view why) {
  std::string detail = "resolve " + std::string(name) + ": ";
  detail += why;
  return UpstreamError(ErrorCode::kConnectFailed, Retry::kSafe, std::move(detail));
}

// A name server may rotate its answer; sorted, the same set is the same answer.
void Normalize(std::vector<IpAddress>& addresses) {
  const auto before = [](const IpAddress& a, const IpAddress& b) {
    if (a.size() != b.size()) return a.size() < b.size();
    return std::memcmp(a.bytes(), b.bytes(), a.size()) < 0;
  };
  std::sort(addresses.begin(), addresses.end(), before);
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  if (addresses.size() > Resolver::kMaxAddresses) addresses.resize(Resolver::kMaxAddresses);
}

bool IsLocalhost(std::string_view name) {
  return name == "localhost" || name.ends_with(".localhost");
}

std::vector<IpAddress> Loopback() {
  constexpr uint8_t kV4[4] = {127, 0, 0, 1};
  constexpr uint8_t kV6[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return {IpAddress::FromBytes(kV4, sizeof(kV4)), IpAddress::FromBytes(kV6, sizeof(kV6))};
}

}  // namespace

struct Resolver::Channel {
  struct Waiter {
    uint64_t id;
    Callback callback;
  };
  struct Lookup {
    Channel& channel;
    std::string name;
    std::vector<Waiter> waiters;
  };
  struct Delivery {
    Waiter waiter;
    Result<Answer> answer;
  };
  // One socket of c-ares. Outlives the channel until the loop has reaped the handle.
  struct Poll {
    Channel* channel;
    ares_socket_t socket;
    uv_poll_t handle{};
  };

  Channel(Loop& owner, const ResolverOptions& wanted)
      : loop(owner), options(wanted), timeout(owner), delivery(owner) {}
  ~Channel();

  static void OnAddresses(void* argument, int status, int timeouts, ares_addrinfo* found) noexcept;
  static void OnSocketState(void* argument, ares_socket_t socket, int readable,
                            int writable) noexcept;
  static void OnPoll(uv_poll_t* handle, int status, int events) noexcept;

  Status Open();
  Result<Answer> FromHosts(const std::string& name);
  Result<Answer> FromDns(std::string_view name, int status, const ares_addrinfo* found) const;
  void Finish(const std::string& name, const Result<Answer>& answer);
  void Deliver();
  void ScheduleDelivery();
  void Process(ares_socket_t readable, ares_socket_t writable);
  void Watch(ares_socket_t socket, int events);

  Loop& loop;
  const ResolverOptions options;
  ares_channel ares = nullptr;
  Timer timeout;
  Timer delivery;
  std::vector<Poll*> polls;
  std::unordered_map<std::string, std::unique_ptr<Lookup>> lookups;
  std::deque<Delivery> due;
  uint64_t next_id = 1;
};

// c-ares never calls into our callers: a callback could destroy the channel under its feet.
void Resolver::Channel::OnAddresses(void* argument, int status, int /*timeouts*/,
                                    ares_addrinfo* found) noexcept {
  auto& lookup = *static_cast<Lookup*>(argument);
  Channel& channel = lookup.channel;
  const std::string name = lookup.name;  // Finish ends the lookup
  if (status != ARES_EDESTRUCTION) channel.Finish(name, channel.FromDns(name, status, found));
  if (found != nullptr) ares_freeaddrinfo(found);
}

void Resolver::Channel::OnSocketState(void* argument, ares_socket_t socket, int readable,
                                      int writable) noexcept {
  const int events = (readable != 0 ? UV_READABLE : 0) | (writable != 0 ? UV_WRITABLE : 0);
  static_cast<Channel*>(argument)->Watch(socket, events);
}

void Resolver::Channel::OnPoll(uv_poll_t* handle, int status, int events) noexcept {
  const auto& poll = *static_cast<Poll*>(handle->data);
  // After an error libuv has stopped the handle; c-ares finds the reason by reading.
  const bool readable = status < 0 || (events & UV_READABLE) != 0;
  const bool writable = status < 0 || (events & UV_WRITABLE) != 0;
  poll.channel->Process(readable ? poll.socket : ARES_SOCKET_BAD,
                        writable ? poll.socket : ARES_SOCKET_BAD);
}

Status Resolver::Channel::Open() {
  ares_options raw{};
  char lookup_order[] = "b";  // the DNS only: FromHosts reads the file
  raw.timeout = static_cast<int>(options.timeout / milliseconds(1));
  raw.tries = options.tries;
  raw.lookups = lookup_order;
  raw.sock_state_cb = OnSocketState;
  raw.sock_state_cb_data = this;
  const int status = ares_init_options(
      &ares, &raw, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB);
  if (status != ARES_SUCCESS) {
    ares = nullptr;
    return GatewayError(ErrorCode::kIo, std::string("resolver: ") + ares_strerror(status));
  }
  if (options.servers.empty()) return {};
  if (ares_set_servers_ports_csv(ares, options.servers.c_str()) == ARES_SUCCESS) return {};
  return GatewayError(ErrorCode::kInvalidConfig,
                      "expected name servers as \"192.0.2.1:53,[2001:db8::1]:53\", got \"" +
                          options.servers + "\"");
}

Resolver::Channel::~Channel() {
  if (ares != nullptr) ares_destroy(ares);  // closes its sockets, which ends their polls
}

// The addresses of /etc/hosts, or an error. A small file in the page cache: read each time.
Result<Resolver::Answer> Resolver::Channel::FromHosts(const std::string& name) {
  Answer answer{{}, kHostsTtl};
  for (const int family : {AF_INET, AF_INET6}) {
    hostent* host = nullptr;
    if (ares_gethostbyname_file(ares, name.c_str(), family, &host) != ARES_SUCCESS) continue;
    for (char** address = host->h_addr_list; *address != nullptr; ++address) {
      const auto* bytes = reinterpret_cast<const uint8_t*>(*address);
      answer.addresses.push_back(IpAddress::FromBytes(bytes, family == AF_INET ? 4 : 16));
    }
    ares_free_hostent(host);
  }
  if (answer.addresses.empty() && IsLocalhost(name)) answer.addresses = Loopback();
  if (answer.addresses.empty()) return ResolveError(name, "not in the hosts file");
  Normalize(answer.addresses);
  return answer;
}

Result<Resolver::Answer> Resolver::Channel::FromDns(std::string_view name, int status,
                                                    const ares_addrinfo* found) const {
  if (status != ARES_SUCCESS || found == nullptr) return ResolveError(name, ares_strerror(status));
  Answer answer;
  answer.ttl = options.max_ttl;
  const auto limit_ttl = [&](int ttl) {
    answer.ttl = std::clamp<Duration>(seconds(ttl), options.min_ttl, answer.ttl);
  };
  for (const ares_addrinfo_cname* alias = found->cnames; alias != nullptr; alias = alias->next) {
    limit_ttl(alias->ttl);
  }
  for (const ares_addrinfo_node* node = found->nodes; node != nullptr; node = node->ai_next) {
    if (node->ai_family != AF_INET && node->ai_family != AF_INET6) continue;
    limit_ttl(node->ai_ttl);
    answer.addresses.push_back(SocketAddress::FromRaw(node->ai_addr, node->ai_addrlen).ip());
  }
  if (answer.addresses.empty()) return ResolveError(name, "the answer has no address");
  Normalize(answer.addresses);
  return answer;
}

void Resolver::Channel::Finish(const std::string& name, const Result<Answer>& answer) {
  const auto finished = lookups.extract(name);
  for (Waiter& waiter : finished.mapped()->waiters) due.push_back({std::move(waiter), answer});
  ScheduleDelivery();
}

void Resolver::Channel::ScheduleDelivery() {
  if (!due.empty()) delivery.Start(Duration::zero(), [this] { Deliver(); });
}

// One callback a call, as the last thing: it may destroy the channel.
void Resolver::Channel::Deliver() {
  if (due.empty()) return;  // cancelled
  Delivery next = std::move(due.front());
  due.pop_front();
  ScheduleDelivery();
  next.waiter.callback(std::move(next.answer));
}

void Resolver::Channel::Process(ares_socket_t readable, ares_socket_t writable) {
  ares_process_fd(ares, readable, writable);
  timeval left{};
  if (ares_timeout(ares, nullptr, &left) == nullptr) {
    timeout.Stop();
    return;
  }
  timeout.Start(seconds(left.tv_sec) + microseconds(left.tv_usec),
                [this] { Process(ARES_SOCKET_BAD, ARES_SOCKET_BAD); });
}

void Resolver::Channel::Watch(ares_socket_t socket, int events) {
  auto known = std::find_if(polls.begin(), polls.end(),
                            [&](const Poll* poll) { return poll->socket == socket; });
  if (known == polls.end()) {
    if (events == 0) return;
    auto poll = std::make_unique<Poll>(Poll{this, socket});
    // When epoll refuses the socket, c-ares' timeout ends the query.
    if (uv_poll_init(loop.raw(), &poll->handle, socket) != 0) return;
    poll->handle.data = poll.get();
    known = polls.insert(polls.end(), poll.release());
  }
  Poll* poll = *known;
  if (events != 0) {
    uv_poll_start(&poll->handle, events, OnPoll);
    return;
  }
  polls.erase(known);
  uv_close(reinterpret_cast<uv_handle_t*>(&poll->handle),
           [](uv_handle_t* handle) { delete static_cast<Poll*>(handle->data); });
}

Result<std::unique_ptr<Resolver>> Resolver::Make(Loop& loop, const ResolverOptions& options) {
  const int status = ares_library_init(ARES_LIB_INIT_ALL);
  SLUICE_CHECK(status == ARES_SUCCESS);
  auto resolver = std::unique_ptr<Resolver>(new Resolver(std::make_unique<Channel>(loop, options)));
  SLUICE_TRY(resolver->channel_->Open());
  return resolver;
}

Resolver::Resolver(std::unique_ptr<Channel> channel) : channel_(std::move(channel)) {}

Resolver::~Resolver() {
  channel_.reset();
  ares_library_cleanup();
}

uint64_t Resolver::Resolve(std::string_view name, Callback callback) {
  Channel& channel = *channel_;
  std::string key = ToLower(name);
  if (key.ends_with('.') && IsLocalhost(std::string_view(key).substr(0, key.size() - 1))) {
    key.pop_back();
  }
  const uint64_t id = channel.next_id++;
  auto& lookup = channel.lookups[key];
  if (lookup != nullptr) {
    lookup->waiters.push_back({id, std::move(callback)});
    return id;
  }
  lookup = std::make_unique<Channel::Lookup>(Channel::Lookup{channel, key, {}});
  lookup->waiters.push_back({id, std::move(callback)});
  if (key.empty()) {  // would be the root
    channel.Finish(key, ResolveError(key, "expected a name, got nothing"));
    return id;
  }
  if (const Result<Answer> answer = channel.FromHosts(key); answer.has_value()) {
    channel.Finish(key, answer);
    return id;
  }
  ares_addrinfo_hints hints{};
  hints.ai_flags = ARES_AI_NOSORT;
  ares_getaddrinfo(channel.ares, key.c_str(), nullptr, &hints, Channel::OnAddresses, lookup.get());
  channel.Process(ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  return id;
}

void Resolver::Cancel(uint64_t id) {
  for (auto& [name, lookup] : channel_->lookups) {
    std::erase_if(lookup->waiters, [&](const auto& waiter) { return waiter.id == id; });
  }
  std::erase_if(channel_->due, [&](const auto& next) { return next.waiter.id == id; });
}

}  // namespace sluice
