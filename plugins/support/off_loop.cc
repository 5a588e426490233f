#include "plugins/support/off_loop.h"

#include <memory>
#include <utility>

namespace sluice::plugins {
namespace {

// The slowest password takes a second, and the pool has four threads.
constexpr size_t kMostUnderWay = 64;
constexpr Duration kLimit = seconds(20);

size_t under_way = 0;  // of this worker, on its loop thread

struct Work {
  OffLoopVerification verification;
  Ticket ticket;
  Status verified;
};

void Finish(Work& work) {
  --under_way;
  if (work.verified.has_value()) work.verification.remember();
  if (RequestContext* const request = work.ticket.request()) {
    work.ticket.Resume(work.verification.decide(*request, work.verified));
  }
}

}  // namespace

Verdict VerifyOffLoop(RequestContext& request, OffLoopVerification verification, Ticket* held) {
  if (under_way == kMostUnderWay) {
    request.SetResponseHeader("Retry-After", "1");
    return request.ReplyMessage(503, "Too many verifications under way");
  }
  ++under_way;
  auto work = std::make_shared<Work>();
  work->verification = std::move(verification);
  work->ticket = held == nullptr ? request.Suspend(kLimit) : std::move(*held);
  request.services().RunOffLoop([work] { work->verified = work->verification.verify(); },
                                [work] { Finish(*work); });
  return Verdict::kSuspend;
}

}  // namespace sluice::plugins
