// What an attempt at an endpoint says about that endpoint, for passive checks and for the ejection
// of outliers. Nothing when the upstream has neither. In the workers.
#pragma once

#include <span>

#include "balancer/outlier.h"
#include "conf/resources.h"
#include "gateway/base/error.h"
#include "gateway/base/time.h"
#include "gateway/http/headers.h"
#include "gateway/proxy/health.h"
#include "gateway/proxy/upstream_state.h"

namespace sluice {

// How an attempt ended: with a response, or with an error before its end.
struct AttemptEnd {
  int status = 0;
  ErrorCode error = ErrorCode::kNone;
};

// The status by which a response is judged: what its head says, and of gRPC also its trailers.
int JudgedStatus(const conf::UpstreamConfig& config, int status, const HeaderList& fields);

// Does the head of a response alone say that the attempt has failed?
bool IsFailure(const conf::UpstreamConfig& config, int status);

// What a passive check with these rules counts; nullopt: nothing.
std::optional<CheckReport> JudgePassively(const conf::PassiveCheck& check, AttemptEnd end);

// nullopt: what the client or we ourselves have caused.
std::optional<balancer::Outcome> OutcomeOf(AttemptEnd end);

// Once for each attempt, when it has ended or its head was a failure. `others`: all endpoints of
// the upstream, this one too.
void ReportOutcome(Endpoint& endpoint, std::span<const std::shared_ptr<Endpoint>> others,
                   const conf::UpstreamConfig& config, AttemptEnd end, MonoTime now);

}  // namespace sluice
