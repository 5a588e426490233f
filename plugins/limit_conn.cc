#include "plugins/limit_conn.h"

#include <algorithm>
#include <utility>

#include "gateway/plugin/registration.h"
#include "gateway/plugin/shared_limits.h"

namespace sluice::plugins {

SLUICE_PLUGIN(LimitConn);

namespace {

constexpr size_t kMostRules = 32;
constexpr uint64_t kMostAtOnce = 1'000'000;
constexpr double kLongestDelay = 3600;

const conf::Fields<LimitConn::RuleConfig>& RuleFields() {
  using T = LimitConn::RuleConfig;
  static const conf::Fields<T> kFields = {
      conf::Required(conf::Declare("conn", &T::conn, LimitAmountField{1, kMostAtOnce},
                                   "Requests that go ahead at once.")),
      conf::Required(conf::Declare("burst", &T::burst, LimitAmountField{0, kMostAtOnce},
                                   "Requests above that are held back.")),
      conf::Required(conf::Declare("key", &T::key, conf::Text{1, 1024},
                                   "What is counted by, with $variables. Requests that have none "
                                   "of these are not counted by this rule.")),
  };
  return kFields;
}

}  // namespace

// The places that a request has taken, given back when it is over, however it ends.
class LimitConn::Held {
 public:
  Held() = default;
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  ~Held() {
    for (const Place& place : places_) {
      const Duration latency = std::max(services_->now() - entered_ - delay_, Duration::zero());
      SharedLimits& limits = services_->limits();
      limits.ledger().Leave(limits.table(), place.ticket, place.limit, latency);
    }
  }

  void Add(PluginServices& services, uint32_t ticket, const ratelimit::ConcurrencyLimit& limit) {
    services_ = &services;
    entered_ = services.now();
    places_.push_back({ticket, limit});
  }
  void SetDelay(Duration delay) { delay_ = delay; }

 private:
  struct Place {
    uint32_t ticket;
    ratelimit::ConcurrencyLimit limit;
  };
  PluginServices* services_ = nullptr;
  MonoTime entered_{};
  Duration delay_{};
  std::vector<Place> places_;
};

const conf::Fields<LimitConn::Config>& LimitConn::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = [] {
    conf::Fields<T> fields = {
        conf::Declare("conn", &T::conn, LimitAmountField{1, kMostAtOnce},
                      "Requests of a key that go ahead at once. With `burst` and `key`, or else "
                      "`rules`."),
        conf::Declare("burst", &T::burst, LimitAmountField{0, kMostAtOnce},
                      "Requests above that are held back; still more are refused."),
        conf::Required(conf::Declare("default_conn_delay", &T::default_conn_delay,
                                     conf::Seconds{.positive = true, .max = kLongestDelay},
                                     "How long a request is held back for each `conn` before it, "
                                     "until it is known how long requests take.")),
        conf::Declare("only_use_default_delay", &T::only_use_default_delay, conf::Boolean{},
                      "That delay stays as it is."),
        conf::Declare("key", &T::key, conf::Text{1, 1024},
                      "What is counted by; the client's address when a request does not have it."),
        conf::Declare("key_type", &T::key_type, KeyTypes(),
                      "`key` is the name of a variable, or a text with $variables."),
        conf::Declare("rules", &T::rules,
                      conf::ListOf<conf::Record<RuleConfig>>{{RuleFields()}, 1, false, kMostRules},
                      "Several limits, all of which have to allow a request."),
        conf::Declare("policy", &T::policy, LimitPolicies(),
                      "Who counts together: `local`, all workers of this host."),
        conf::NotBuilt<T>("key_ttl"),
    };
    AddLimitFields(fields);
    AddRedisFields(fields);
    return fields;
  }();
  return kFields;
}

std::unique_ptr<const Plugin> LimitConn::Make(Config config, const PluginBuild& build) {
  const bool single = config.conn && config.burst && !config.key.empty();
  if (single == !config.rules.empty() || config.conn.has_value() != single) {
    build.place.Fail("expected \"conn\", \"burst\" and \"key\", or else \"rules\"");
    return nullptr;
  }
  auto plugin = std::make_unique<LimitConn>();
  const std::string scope = std::string(build.owner) + " limit-conn";
  if (single) {
    plugin->rules_.push_back(
        {.conn = *config.conn,
         .burst = *config.burst,
         .key = LimitKey::Make(config.key, config.key_type, build.place, "key"),
         .name = SharedLimits::NameOf(scope)});
  }
  for (const RuleConfig& rule : config.rules) {
    const std::string number = std::to_string(plugin->rules_.size() + 1);
    plugin->rules_.push_back(
        {.conn = rule.conn,
         .burst = rule.burst,
         .key = LimitKey::Make(rule.key, LimitKey::Type::kCombination, build.place, "rules"),
         .needs_key = true,
         .name = SharedLimits::NameOf(scope + " rule " + number)});
  }
  plugin->config_ = std::move(config);
  return plugin;
}

Verdict LimitConn::OnAccess(RequestContext& request) const {
  Duration delay{};
  for (const Rule& rule : rules_) {
    const Verdict verdict = Apply(request, rule, delay);
    if (verdict != Verdict::kContinue) return verdict;
  }
  if (delay < milliseconds(1)) return Verdict::kContinue;
  request.State<Held>().SetDelay(delay);
  return request.Delay(delay);
}

Verdict LimitConn::Apply(RequestContext& request, const Rule& rule, Duration& delay) const {
  const std::string_view key = rule.needs_key ? rule.key.Find(request) : rule.key.Of(request);
  if (key.data() == nullptr) return Verdict::kContinue;
  const auto conn = rule.conn.Of(request, 1, kMostAtOnce);
  if (!conn.has_value()) return config_.Fail(request, "conn: " + conn.error().detail);
  const auto burst = rule.burst.Of(request, 0, kMostAtOnce);
  if (!burst.has_value()) return config_.Fail(request, "burst: " + burst.error().detail);
  const ratelimit::ConcurrencyLimit limit({.places = static_cast<uint32_t>(*conn),
                                           .burst = static_cast<uint32_t>(*burst),
                                           .unit_delay = config_.default_conn_delay,
                                           .fixed_unit = config_.only_use_default_delay});
  PluginServices& services = request.services();
  SharedLimits& limits = services.limits();
  const auto entered = limits.ledger().Enter(limits.table(), limits.KeyOf(rule.name, key), limit,
                                             LimitTime(request));
  if (!entered) return config_.FailFull(request);
  if (!entered->decision.allowed) return config_.Reject(request);
  request.State<Held>().Add(services, entered->ticket, limit);
  delay = std::max<Duration>(delay, entered->decision.delay);
  return Verdict::kContinue;
}

}  // namespace sluice::plugins
