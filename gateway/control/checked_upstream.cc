#include "gateway/control/checked_upstream.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "balancer/outlier.h"
#include "gateway/base/log.h"
#include "gateway/control/health_checker.h"
#include "gateway/net/proxy_protocol.h"
#include "gateway/proxy/health.h"

namespace sluice {
namespace {

// A probe comes up to so much earlier or later than the interval says, so that the probes of many
// nodes and hosts do not fall together.
constexpr double kJitter = 0.1;

}  // namespace

class CheckedUpstream::Target final : public Deadline::Observer, public ListNode<Target> {
 public:
  Target(CheckedUpstream& upstream, const SocketAddress& address)
      : upstream_(upstream),
        address_(address),
        name_(address.ToString()),
        shared_(upstream.checker_.table(), upstream.key_, name_),
        next_(upstream.checker_.loop().deadlines(), *this) {
    // The first probes of all nodes are spread over an interval, as the later ones are.
    const Duration interval = Interval();
    probed_ = upstream.checker_.loop().now() - interval + Scaled(interval, Random());
    Plan();
  }
  ~Target() { CancelProbe(); }

  const std::string& name() const { return name_; }
  void set_node_host(std::string host) { node_host_ = std::move(host); }

  void Plan();
  void StartProbe();
  void Forget();

  void OnDeadline() override;

 private:
  double Random() { return upstream_.checker_.Random(); }
  static Duration Scaled(Duration duration, double factor) {
    return Duration(static_cast<int64_t>(static_cast<double>(duration.count()) * factor));
  }
  const conf::ActiveCheck& check() const { return upstream_.plan_->check; }
  Duration Interval();
  MonoTime DueAt() { return probed_ + Scaled(Interval(), factor_); }
  void CancelProbe();
  void OnProbed(const ProbeResult& result);
  void Judge(const ProbeResult& result);

  CheckedUpstream& upstream_;
  const SocketAddress address_;
  const std::string name_;
  std::string node_host_;
  HeldRecord shared_;
  Deadline next_;
  MonoTime probed_{};
  double factor_ = 1;
  HealthProbe* probe_ = nullptr;
};

Duration CheckedUpstream::Target::Interval() {
  return IsHealthy(*shared_) ? check().healthy_interval : check().unhealthy_interval;
}

// Workers change the health too, and with it the interval: so we look again after the shorter one.
void CheckedUpstream::Target::Plan() {
  if (probe_ != nullptr || is_linked()) return;
  const Duration shortest = std::min(check().healthy_interval, check().unhealthy_interval);
  next_.Set(std::min(DueAt(), upstream_.checker_.loop().now() + shortest));
}

void CheckedUpstream::Target::OnDeadline() {
  if (upstream_.checker_.loop().now() < DueAt()) return Plan();
  upstream_.OnDue(*this);
}

void CheckedUpstream::Target::StartProbe() {
  probed_ = upstream_.checker_.loop().now();
  factor_ = 1 - kJitter + 2 * kJitter * Random();
  SocketAddress address = address_;
  if (check().port != 0 && !address.is_unix()) {
    address = SocketAddress::FromIp(address.ip(), check().port);
  }
  const std::string& host = upstream_.host_.empty() ? node_host_ : upstream_.host_;
  probe_ = &HealthProbe::Start(upstream_.checker_.probes(), upstream_.plan_, address, host,
                               [this](const ProbeResult& result) { OnProbed(result); });
  ++upstream_.running_;
}

void CheckedUpstream::Target::OnProbed(const ProbeResult& result) {
  probe_ = nullptr;
  --upstream_.running_;
  Judge(result);
  Plan();
  upstream_.checker_.OnProbeDone(upstream_);
}

void CheckedUpstream::Target::CancelProbe() {
  if (probe_ == nullptr) return;
  std::exchange(probe_, nullptr)->Cancel();
  --upstream_.running_;
  upstream_.checker_.OnProbeCancelled();
}

void CheckedUpstream::Target::Judge(const ProbeResult& result) {
  const conf::HealthRules& rules = check().rules;
  CheckReport report{result.result};
  if (result.status > 0) {
    const auto judged = JudgeStatus(rules, result.status);
    if (!judged) return;
    report = *judged;
  }
  const HealthChange change = ReportHealth(*shared_, rules, report);
  LogHealthChange(change, {upstream_.key_, name_, "active"}, report, result.detail);
  if (report.result != CheckResult::kSuccess) return;
  // As Envoy: who passes a check is no outlier any more.
  const MonoTime now = upstream_.checker_.loop().now();
  if (!balancer::Outlier::IsEjected(shared_->outlier, now)) return;
  balancer::Outlier::Readmit(shared_->outlier);
  Log(LogLevel::kInfo, "node is not ejected any more: it passed a check",
      {{"upstream", upstream_.key_}, {"node", name_}});
}

void CheckedUpstream::Target::Forget() { ForgetHealth(*shared_); }

CheckedUpstream::CheckedUpstream(HealthChecker& checker, std::string key)
    : checker_(checker), key_(std::move(key)), nodes_(checker.loop(), [this] { Rebuild(); }) {}

CheckedUpstream::~CheckedUpstream() = default;

void CheckedUpstream::Update(const conf::UpstreamConfig& config,
                             std::shared_ptr<const TlsClientContext> tls) {
  const conf::ActiveCheck& check = config.checks->active;
  ProbePlan plan{check, std::move(tls)};
  // No client: the header says that nothing is known.
  if (config.proxy_protocol != 0) plan.preface = WriteProxyHeader(config.proxy_protocol, {}, {});
  plan_ = std::make_shared<const ProbePlan>(std::move(plan));
  host_ = check.host;
  if (host_.empty() && config.pass_host == conf::UpstreamConfig::PassHost::kRewrite) {
    host_ = config.upstream_host;
  }
  nodes_.Update(config.nodes, checker_.resolver(config));
  Rebuild();
}

// Endpoints that stay are kept with all that is known of them.
void CheckedUpstream::Rebuild() {
  std::unordered_map<std::string_view, std::unique_ptr<Target>> previous;
  for (auto& target : targets_) {
    const std::string_view name = target->name();
    previous.emplace(name, std::move(target));
  }
  targets_.clear();
  std::unordered_set<std::string_view> names;
  nodes_.ForEach([&](const SocketAddress& address, const conf::NodeConfig& node) {
    const std::string name = address.ToString();
    if (names.contains(name)) return;  // an address that two nodes have is asked once
    const auto same = previous.find(name);
    targets_.push_back(same != previous.end() ? std::move(previous.extract(same).mapped())
                                              : std::make_unique<Target>(*this, address));
    names.insert(targets_.back()->name());
    targets_.back()->set_node_host(HostAndPort(node));
    targets_.back()->Plan();  // the intervals may be new
  });
  for (const auto& [name, gone] : previous) gone->Forget();
  previous.clear();
  checker_.OnDue(*this);  // probes that were cancelled have given their places back
}

void CheckedUpstream::Forget() {
  for (const auto& target : targets_) target->Forget();
}

void CheckedUpstream::OnDue(Target& target) {
  due_.PushBack(target);
  checker_.OnDue(*this);
}

bool CheckedUpstream::has_work() const {
  return !due_.empty() && running_ < plan_->check.concurrency;
}

void CheckedUpstream::StartOne() { due_.PopFront()->StartProbe(); }

}  // namespace sluice
