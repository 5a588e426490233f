#include "gateway/proxy/health.h"

#include <limits>

#include "gateway/base/log.h"

namespace sluice {
namespace {

constexpr std::array<std::string_view, 4> kHealthNames = {"healthy", "mostly_healthy",
                                                          "mostly_unhealthy", "unhealthy"};
constexpr std::array<std::string_view, kCheckResults> kResultNames = {"success", "http_failure",
                                                                      "tcp_failure", "timeout"};

}  // namespace

std::string_view HealthName(Health health) { return kHealthNames[static_cast<size_t>(health)]; }

std::string_view CheckResultName(CheckResult result) {
  return kResultNames[static_cast<size_t>(result)];
}

HealthWord HealthWord::Unpack(uint64_t word) {
  HealthWord unpacked;
  // Only we write it, yet what comes from shared memory must not become an index out of range.
  unpacked.health = HealthOf(word);
  unpacked.cause = static_cast<CheckResult>((word >> 48) & 3);
  unpacked.status = static_cast<uint16_t>(word >> 32);
  for (size_t i = 0; i < kCheckResults; ++i) {
    unpacked.counts[i] = static_cast<uint8_t>(word >> (8 * i));
  }
  return unpacked;
}

uint64_t HealthWord::Pack() const {
  uint64_t word = uint64_t{static_cast<uint8_t>(health)} << 56 |
                  uint64_t{static_cast<uint8_t>(cause)} << 48 | uint64_t{status} << 32;
  for (size_t i = 0; i < kCheckResults; ++i) word |= uint64_t{counts[i]} << (8 * i);
  return word;
}

HealthWord NextHealth(HealthWord word, CheckReport report, uint8_t limit) {
  const bool good = report.result == CheckResult::kSuccess;
  const Health goal = good ? Health::kHealthy : Health::kUnhealthy;
  if (limit == 0 || word.health == goal) return word;
  constexpr auto kSuccess = static_cast<size_t>(CheckResult::kSuccess);
  if (good) {
    word.counts = {word.counts[kSuccess]};
  } else {
    word.counts[kSuccess] = 0;
  }
  uint8_t& count = word.counts[static_cast<size_t>(report.result)];
  if (count < std::numeric_limits<uint8_t>::max()) ++count;
  const bool was_healthy = word.is_healthy();
  if (count >= limit) {
    word.health = goal;
  } else if (word.health == Health::kHealthy) {
    word.health = Health::kMostlyHealthy;
  } else if (word.health == Health::kUnhealthy) {
    word.health = Health::kMostlyUnhealthy;
  }
  if (word.is_healthy() != was_healthy) {
    word.cause = report.result;
    word.status = report.status;
  }
  return word;
}

std::optional<CheckReport> JudgeStatus(const conf::HealthRules& rules, int status) {
  const auto number = static_cast<size_t>(status);
  if (status <= 0 || number >= rules.healthy_statuses.size()) return std::nullopt;
  const auto code = static_cast<uint16_t>(status);
  // As APISIX: what is in both lists is healthy.
  if (rules.healthy_statuses[number]) return CheckReport{CheckResult::kSuccess, code};
  if (rules.unhealthy_statuses[number]) return CheckReport{CheckResult::kHttpFailure, code};
  return std::nullopt;
}

uint8_t LimitOf(const conf::HealthRules& rules, CheckResult result) {
  switch (result) {
    case CheckResult::kSuccess:
      return rules.successes;
    case CheckResult::kHttpFailure:
      return rules.http_failures;
    case CheckResult::kTcpFailure:
      return rules.tcp_failures;
    case CheckResult::kTimeout:
      return rules.timeouts;
  }
  return 0;
}

HealthChange ReportHealth(SharedRecord& record, const conf::HealthRules& rules,
                          CheckReport report) {
  const uint8_t limit = LimitOf(rules, report.result);
  uint64_t word = record.checks.load(std::memory_order_relaxed);
  while (true) {
    const HealthWord before = HealthWord::Unpack(word);
    const HealthWord after = NextHealth(before, report, limit);
    if (after == before) return HealthChange::kNone;
    if (!record.checks.compare_exchange_weak(word, after.Pack(), std::memory_order_relaxed)) {
      continue;
    }
    if (after.is_healthy() == before.is_healthy()) return HealthChange::kNone;
    return after.is_healthy() ? HealthChange::kUp : HealthChange::kDown;
  }
}

void LogHealthChange(HealthChange change, const CheckedNode& of, CheckReport report,
                     std::string_view detail) {
  if (change == HealthChange::kNone) return;
  const bool up = change == HealthChange::kUp;
  Log(up ? LogLevel::kInfo : LogLevel::kWarn, up ? "node is healthy again" : "node is unhealthy",
      {{"upstream", of.upstream},
       {"node", of.node},
       {"check", of.check},
       {"reason", CheckResultName(report.result)},
       {"status", report.status},
       {"detail", detail}});
}

}  // namespace sluice
