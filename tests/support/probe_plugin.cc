// probe: does what only some plugins will do and the plugin host has to bear: work off the loop, a
// ticket that is lost or never used, replies in place of responses, bodies that are read and
// replaced. It is part of the binary sluice_probe only, which tests run instead of sluice.
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "gateway/base/log.h"
#include "gateway/plugin/plugin.h"
#include "gateway/plugin/registration.h"

namespace sluice {
namespace {

class Probe final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "probe", .priority = 1, .summary = "For tests.", .example = "act: nothing"};

  enum class Act : uint8_t { kNothing, kReply, kFail, kOffLoop, kDropTicket, kKeepTicket };
  struct Config {
    Act act = Act::kNothing;
    bool in_header_filter = false;
    Duration work{};
    Duration limit = seconds(20);
    int status = 0;
    uint64_t body_limit = 0;
    bool wraps_body = false;
  };

  static const conf::Fields<Config>& Fields() {
    using T = Config;
    static const conf::Fields<T> kFields = {
        conf::Declare("act", &T::act,
                      conf::Choice<Act>{{{"nothing", Act::kNothing},
                                         {"reply", Act::kReply},
                                         {"fail", Act::kFail},
                                         {"off_loop", Act::kOffLoop},
                                         {"drop_ticket", Act::kDropTicket},
                                         {"keep_ticket", Act::kKeepTicket}}},
                      "What it does."),
        conf::Declare("in_header_filter", &T::in_header_filter, conf::Boolean{},
                      "There, instead of in access."),
        conf::Declare("work", &T::work, conf::Seconds{.positive = false}, "Time off the loop."),
        conf::Declare("limit", &T::limit, conf::Seconds{}, "Of a suspension."),
        conf::Declare("status", &T::status, conf::Integer<int>{0, 599},
                      "Of its reply; 0: the request goes on."),
        conf::Declare("body_limit", &T::body_limit, conf::Integer<uint64_t>{0, 1 << 30},
                      "It reads the body."),
        conf::Declare("wraps_body", &T::wraps_body, conf::Boolean{}, "Sends it on as <body>."),
    };
    return kFields;
  }

  explicit Probe(Config config) : config_(config) {}

  uint64_t request_body_limit() const override { return config_.body_limit; }

  Verdict OnAccess(RequestContext& request) const override {
    if (config_.wraps_body) request.SetBody("<" + std::string(request.body()) + ">");
    return config_.in_header_filter ? Verdict::kContinue : Do(request);
  }

  Verdict OnHeaderFilter(RequestContext& request, ResponseContext& response) const override {
    response.SetHeader("X-Probe", std::to_string(request.body().size()));
    return config_.in_header_filter ? Do(request) : Verdict::kContinue;
  }

 private:
  static Verdict End(RequestContext& request, int status) {
    return status == 0 ? Verdict::kContinue : request.Reply(status, "of the probe", "text/plain");
  }

  Verdict Do(RequestContext& request) const {
    switch (config_.act) {
      case Act::kNothing:
        return Verdict::kContinue;
      case Act::kReply:
        return End(request, config_.status);
      case Act::kFail:
        return request.Fail("as it was told");
      case Act::kDropTicket:
        (void)request.Suspend(config_.limit);
        return Verdict::kSuspend;
      case Act::kKeepTicket: {
        static auto* const kept = new std::vector<Ticket>();
        kept->push_back(request.Suspend(config_.limit));
        return Verdict::kSuspend;
      }
      case Act::kOffLoop:
        break;
    }
    Log(LogLevel::kWarn, "probe: work begins", {});
    auto ticket = std::make_shared<Ticket>(request.Suspend(config_.limit));
    request.services().RunOffLoop(
        [work = config_.work] { std::this_thread::sleep_for(work); },
        [ticket, status = config_.status] {
          RequestContext* const living = ticket->request();
          Log(LogLevel::kWarn, "probe: work is done", {{"lives", living == nullptr ? 0 : 1}});
          if (living != nullptr) ticket->Resume(End(*living, status));
        });
    return Verdict::kSuspend;
  }

  const Config config_;
};

SLUICE_PLUGIN(Probe);

}  // namespace
}  // namespace sluice
