// How an upstream's node is chosen: type, and what the hashing types hash.
#include "conf/decode.h"

namespace sluice::conf {
namespace {

using Source = HashKeyConfig::Source;
using Balancer = UpstreamConfig::Balancer;

constexpr int64_t kMostBalanceFactor = 100'000;

const Choice<Balancer>& Balancers() {
  static const Choice<Balancer> kBalancers{{{"roundrobin", Balancer::kRoundRobin},
                                            {"least_conn", Balancer::kLeastConn},
                                            {"chash", Balancer::kChash},
                                            {"maglev", Balancer::kMaglev},
                                            {"ewma", Balancer::kEwma},
                                            {"random", Balancer::kRandom}}};
  return kBalancers;
}

struct HashOn {
  std::optional<Source> operator()(const Place& place) const {
    static const Choice<Source> kSources{{{"vars", Source::kVariable},
                                          {"header", Source::kHeader},
                                          {"cookie", Source::kCookie},
                                          {"consumer", Source::kVariable},  // consumer_name
                                          {"vars_combinations", Source::kCombination}}};
    return kSources(place);
  }
};

bool HashesConsumer(const Place& upstream) {
  const Node* const hash_on = upstream.node.Find("hash_on");
  return hash_on != nullptr && hash_on->is_string() && hash_on->text == "consumer";
}

// Nothing that is written may be without effect unnoticed.
void RefuseHashFields(const Place& place, const UpstreamConfig& upstream) {
  const Node* hash_on = place.node.Find("hash_on");
  // Exported configurations spell out this default whatever the type is.
  const bool is_default = hash_on == nullptr || !hash_on->is_string() || hash_on->text == "vars";
  std::string_view useless;
  if (!is_default) useless = "hash_on";
  if (place.node.Find("key") != nullptr) useless = "key";
  if (upstream.hash_balance_factor != 0) useless = "hash_balance_factor";
  if (useless.empty()) return;
  place.Fail(
      std::string(useless) + " has no effect with type " + std::string(NameOf(upstream.balancer)),
      "add type: chash or maglev, or leave out " + std::string(useless));
}

}  // namespace

std::string_view NameOf(UpstreamConfig::Balancer balancer) {
  for (const auto& [name, value] : Balancers().values) {
    if (value == balancer) return name;
  }
  return {};
}

void AddBalancing(Fields<UpstreamConfig>& fields) {
  using T = UpstreamConfig;
  fields.push_back(Bind("type", &T::balancer, Balancers()));
  fields.push_back(Accept<T>("hash_on", HashOn{}));  // FinishBalancing reads these two
  fields.push_back(Accept<T>("key", Text{}));
  fields.push_back(Bind("hash_balance_factor", &T::hash_balance_factor,
                        Integer<uint32_t>{100, kMostBalanceFactor}));
}

void FinishBalancing(const Place& place, UpstreamConfig& upstream) {
  if (!place.node.is_map()) return;
  const bool hashes =
      upstream.balancer == Balancer::kChash || upstream.balancer == Balancer::kMaglev;
  if (!hashes) return RefuseHashFields(place, upstream);
  const Node* key = place.node.Find("key");
  if (HashesConsumer(place)) {
    if (key != nullptr) {
      place.Fail("key has no effect with hash_on: consumer", "the consumer's name is the key");
    }
    HashKeyConfig& hash_key = upstream.hash_key.emplace();
    hash_key.key = "consumer_name";
    hash_key.path = place.Path() + ".hash_on";
    hash_key.position = place.node.Find("hash_on")->position;
    return;
  }
  if (key == nullptr) {
    return place.Fail("expected the field \"key\" with type " +
                          std::string(NameOf(upstream.balancer)) + ", which is missing",
                      "for example key: remote_addr");
  }
  if (!key->is_string()) return;  // its field has said so
  HashKeyConfig& hash_key = upstream.hash_key.emplace();
  if (const Node* hash_on = place.node.Find("hash_on")) {
    Diagnostics said;  // by its field
    hash_key.source = HashOn{}(Place{*hash_on, said, &place, "hash_on"}).value_or(hash_key.source);
  }
  hash_key.key = key->text;
  hash_key.path = Place{*key, place.diagnostics, &place, "key"}.Path();
  hash_key.position = key->position;
}

}  // namespace sluice::conf
