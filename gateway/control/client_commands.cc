// The commands that talk to the running gateway: by its control socket, or by signals to the master
// that holds the PID file.
#include <cerrno>
#include <optional>
#include <string_view>

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "conf/config_tree.h"
#include "conf/resources.h"
#include "gateway/base/address.h"
#include "gateway/base/json_writer.h"
#include "gateway/base/unique_fd.h"
#include "gateway/control/commands.h"
#include "gateway/control/console.h"
#include "gateway/control/pid_file.h"
#include "gateway/control/process_settings.h"

namespace sluice {
namespace {

constexpr Duration kRepeat = milliseconds(200);
constexpr size_t kMaxReply = 64 * 1024 * 1024;
// What `stop` waits beyond the time that the gateway gives itself.
constexpr Duration kGrace = seconds(15);

int Fail(std::string_view text) {
  PrintError("sluice: " + std::string(text) + "\n");
  return kExitFailed;
}

struct Found {
  ProcessSettings settings;
  std::string diagnostics;  // of the file, as text; empty when it is good
};

// Where the running gateway is found. It may run with an older, better version of a file that is
// broken now: then the default places count, with the prefix.
Found FindSettings(const Options& options) {
  conf::Diagnostics diagnostics;
  const auto config = conf::LoadFile(options.config, diagnostics);
  const PathOrigin origin{options.prefix, false};
  if (config != nullptr) return {ProcessSettings::Make(*config, origin), {}};
  conf::Config fallback;
  conf::Diagnostics ignored;
  std::string text;
  for (const conf::Source& source : diagnostics.sources()) {
    if (source.name == options.config) text = source.text;
  }
  fallback.document = conf::ParseYaml(text, ignored.AddSource(options.config, text), ignored);
  if (const conf::Node* gateway = fallback.document.Find("gateway")) {
    const auto read = [&](std::string_view key, std::string& value) {
      const conf::Node* node = gateway->Find(key);
      if (node != nullptr && node->is_string()) value = node->text;
    };
    read("pid", fallback.gateway.pid);
    read("control", fallback.gateway.control);
  }
  return {ProcessSettings::Make(fallback, origin), diagnostics.ToText()};
}

Result<std::string> Ask(const std::string& path, std::string_view request) {
  SLUICE_ASSIGN_OR_RETURN(const SocketAddress address, SocketAddress::Make("unix:" + path));
  const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return SystemError("socket", errno);
  if (connect(fd.get(), address.raw(), address.raw_size()) != 0) {
    return SystemError("no gateway listens on " + path, errno);
  }
  if (send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size())) {
    return SystemError("ask through " + path, errno);
  }
  std::string reply;
  std::string buffer(64 * 1024, '\0');
  while (reply.size() < kMaxReply) {
    const ssize_t count = recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SystemError("answer from " + path, errno);
    if (count == 0) break;
    reply.append(buffer, 0, static_cast<size_t>(count));
  }
  if (!reply.ends_with('\n')) {
    return GatewayError(ErrorCode::kIo, "the gateway ended before it answered");
  }
  return reply;
}

// Puts the request to the running gateway and prints its answer.
int AskGateway(const Options& options, std::string_view request) {
  const Found found = FindSettings(options);
  const auto reply = Ask(found.settings.control, request);
  if (!reply.has_value()) {
    // A broken file may be why we look in the wrong place.
    PrintError(found.diagnostics);
    return Fail(reply.error().detail);
  }
  conf::Diagnostics diagnostics;
  const conf::Node root =
      conf::ParseJson(*reply, diagnostics.AddSource("answer", *reply), diagnostics);
  const conf::Node* ok = root.Find("ok");
  const conf::Node* text = root.Find("text");
  if (ok == nullptr || text == nullptr) return Fail("the gateway's answer is not understood");
  if (options.json) {
    PrintOut(*reply);
  } else if (ok->boolean) {
    PrintOut(text->text);
  } else {
    PrintError(text->text);
  }
  return ok->boolean ? kExitOk : kExitFailed;
}

Result<pid_t> FindMaster(const ProcessSettings& settings) {
  SLUICE_ASSIGN_OR_RETURN(const std::optional<pid_t> master, PidFile::FindMaster(settings.pid));
  if (!master.has_value()) {
    return GatewayError(ErrorCode::kIo, "no gateway is running: nobody holds " + settings.pid);
  }
  return *master;
}

// True when the process has ended within the time.
bool WaitForEnd(const UniqueFd& process, Duration limit) {
  pollfd wait{process.get(), POLLIN, 0};
  const MonoTime end = MonoNow() + limit;
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - MonoNow()).count();
    const int ready = poll(&wait, 1, static_cast<int>(std::max<int64_t>(left, 0)));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

// A handle on the process, so that a reused id cannot be hit.
Result<UniqueFd> OpenMaster(const ProcessSettings& settings, pid_t& pid) {
  SLUICE_ASSIGN_OR_RETURN(pid, FindMaster(settings));
  UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return SystemError("process " + std::to_string(pid), errno);
  return process;
}

Status SendSignal(const UniqueFd& process, int number) {
  if (syscall(SYS_pidfd_send_signal, process.get(), number, nullptr, 0) != 0) {
    return SystemError("signal the gateway", errno);
  }
  return {};
}

}  // namespace

int RunReload(const Options& options) { return AskGateway(options, "{\"command\":\"reload\"}\n"); }

int RunStatus(const Options& options) { return AskGateway(options, "{\"command\":\"status\"}\n"); }

int RunNode(const Options& options) {
  std::string request;
  JsonWriter json(request);
  json.BeginObject().Member("command", "node").Member("order", options.order);
  json.Member("upstream", options.upstream).Member("node", options.node).EndObject();
  return AskGateway(options, request + "\n");
}

int RunStop(const Options& options) {
  const ProcessSettings settings = FindSettings(options).settings;
  pid_t pid = 0;
  const auto process = OpenMaster(settings, pid);
  if (!process.has_value()) return Fail(process.error().detail);
  if (const Status sent = SendSignal(*process, SIGTERM); !sent.has_value()) {
    return Fail(sent.error().detail);
  }
  const Duration limit =
      options.timeout > Duration::zero() ? options.timeout : settings.shutdown + kGrace;
  if (WaitForEnd(*process, limit)) return kExitOk;
  return Fail("process " + std::to_string(pid) +
              " has not ended yet; `sluice -s stop` ends it at once");
}

int RunSignal(const Options& options) {
  const ProcessSettings settings = FindSettings(options).settings;
  pid_t pid = 0;
  const auto process = OpenMaster(settings, pid);
  if (!process.has_value()) return Fail(process.error().detail);
  const std::string& name = options.signal;
  const int number = name == "reload"   ? SIGHUP
                     : name == "reopen" ? SIGUSR1
                     : name == "quit"   ? SIGQUIT
                                        : SIGTERM;
  Status sent = SendSignal(*process, number);
  if (name == "stop") {
    // A second TERM means: at once. Repeated, because two pending ones would arrive as one.
    const MonoTime end = MonoNow() + kGrace;
    while (sent.has_value() && !WaitForEnd(*process, kRepeat)) {
      if (MonoNow() > end) return Fail("process " + std::to_string(pid) + " does not end");
      sent = SendSignal(*process, number);
      if (!sent.has_value() && WaitForEnd(*process, Duration::zero())) sent = {};
    }
  }
  return sent.has_value() ? kExitOk : Fail(sent.error().detail);
}

}  // namespace sluice
