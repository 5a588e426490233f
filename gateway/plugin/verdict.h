// The few words of the plugin contract: what a hook can say, when it is asked, and what happens
// when it cannot say anything.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice {

// What a hook says of the request. A reply is made by RequestContext::Reply, a suspension by
// RequestContext::Suspend or Delay, a failure by RequestContext::Fail; each returns its verdict.
enum class [[nodiscard]] Verdict : uint8_t{
    kContinue,  // nothing against it: the next plugin, please
    kReply,     // the request ends here with the reply that was made
    kSuspend,   // wait for the ticket
    kFail,      // the plugin could not do its work: its failure mode decides
};

// APISIX's phases, in the order in which a request meets them.
enum class Phase : uint8_t {
  kRewrite,       // a route is known; may suspend
  kAccess,        // the consumer is known; may suspend
  kBeforeProxy,   // an attempt is about to be sent; for each attempt
  kHeaderFilter,  // the response's head is there, whoever made it; may suspend
  kBodyFilter,    // a piece of the response's body
  kLog,           // it is over
};
inline constexpr size_t kPhases = 6;

// What becomes of a request when a plugin fails: by Fail, a ticket that was dropped, or a limit of
// time that passed.
enum class FailureMode : uint8_t {
  kClosed,  // it ends with 500
  kOpen,    // it goes on as if the plugin were not there
};

}  // namespace sluice
