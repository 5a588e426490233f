#include "gateway/control/control_server.h"

#include <utility>

#include <sys/socket.h>

#include "conf/config_tree.h"
#include "conf/diagnostics.h"
#include "gateway/base/json_writer.h"
#include "gateway/base/log.h"
#include "gateway/net/stream.h"

namespace sluice {
namespace {

// What is asked, or what is wrong with it.
Result<ControlRequest> ParseRequest(std::string_view line) {
  conf::Diagnostics diagnostics;
  const uint32_t file = diagnostics.AddSource("request", std::string(line));
  const conf::Node root = conf::ParseJson(line, file, diagnostics, {.depth = 4});
  if (!diagnostics.empty()) {
    return GatewayError(ErrorCode::kInvalidConfig, diagnostics.list().front().message);
  }
  const conf::Node* command = root.Find("command");
  if (command == nullptr || !command->is_string()) {
    return GatewayError(ErrorCode::kInvalidConfig, R"(expected {"command": "..."})");
  }
  ControlRequest request{.command = command->text, .arguments = {}};
  for (const conf::Entry& entry : root.entries) {
    if (entry.key == "command") continue;
    if (!entry.value.is_string()) {
      return GatewayError(ErrorCode::kInvalidConfig, "expected a text as \"" + entry.key + "\"");
    }
    request.arguments.emplace(entry.key, entry.value.text);
  }
  return request;
}

}  // namespace

struct ControlServer::State {
  Loop& loop;
  OnCommand on_command;  // empty: the server is gone
  Listener* listener = nullptr;
  uint64_t last_id = 0;
  std::map<uint64_t, std::unique_ptr<Connection>> connections{};
};

class ControlServer::Connection final : public StreamObserver, public Deadline::Observer {
 public:
  Connection(std::shared_ptr<State> state, uint64_t id)
      : state_(std::move(state)),
        id_(id),
        stream_(state_->loop, *this),
        deadline_(state_->loop.deadlines(), *this) {}

  void Start(int fd) {
    deadline_.Set(MonoNow() + kPatience);
    const Status accepted = stream_.Accept(fd);
    if (!accepted.has_value()) {
      Log(LogLevel::kWarn, "control connection", {{"reason", accepted.error().detail}});
    }
  }

  void Close() { stream_.Close(); }

  void Reply(std::string_view json) {
    reply_ = std::string(json) + "\n";
    deadline_.Set(MonoNow() + kPatience);
    stream_.Send(reply_);
    stream_.CloseAfterFlush();
  }

  // StreamObserver
  void OnConnected(Status /*status*/) override {}
  void OnRead(std::string_view bytes) override {
    if (asked_) return Close();  // one request a connection
    request_ += bytes;
    const size_t end = request_.find('\n');
    if (end == std::string::npos && request_.size() <= kMaxRequest) return;
    asked_ = true;
    if (end == std::string::npos || end > kMaxRequest) {
      return Reply(ErrorReply("a request has at most " + std::to_string(kMaxRequest) + " bytes"));
    }
    const auto request = ParseRequest(std::string_view(request_).substr(0, end));
    if (!request.has_value()) return Reply(ErrorReply(request.error().detail));
    deadline_.Cancel();
    if (state_->on_command) state_->on_command(id_, *request);
  }
  void OnEof() override { Close(); }
  void OnStreamError(int /*error_number*/) override { Close(); }
  void OnBlocked() override {}
  void OnWritable() override {}
  void OnClosed() override {
    const std::shared_ptr<State> state = state_;
    if (state->listener != nullptr) state->listener->Resume();
    state->connections.erase(id_);  // destroys this
  }

  // Deadline::Observer
  void OnDeadline() override { Close(); }

 private:
  const std::shared_ptr<State> state_;
  const uint64_t id_;
  Stream stream_;
  Deadline deadline_;
  std::string request_;
  std::string reply_;
  bool asked_ = false;
};

Result<std::unique_ptr<ControlServer>> ControlServer::Make(Loop& loop, UniqueFd socket,
                                                           OnCommand on_command) {
  auto state = std::shared_ptr<State>(new State{loop, std::move(on_command)});
  const std::weak_ptr<State> weak = state;
  const auto accept = [weak](int fd, const SocketAddress& /*peer*/) {
    UniqueFd owned(fd);
    const auto here = weak.lock();
    if (here == nullptr) return;
    const uint64_t id = ++here->last_id;
    auto connection = std::make_unique<Connection>(here, id);
    Connection& started = *connection;
    here->connections.emplace(id, std::move(connection));
    // Those beyond the limit wait in the kernel's queue, which is bounded too.
    if (here->connections.size() >= kMaxConnections) here->listener->Pause();
    started.Start(owned.Release());
  };
  auto listener = std::make_unique<Listener>(loop, socket.Release(), SocketAddress(), accept);
  state->listener = listener.get();
  listener->Resume();
  auto server = std::unique_ptr<ControlServer>(new ControlServer(std::move(state)));
  server->listener_ = std::move(listener);
  return server;
}

ControlServer::~ControlServer() {
  state_->on_command = nullptr;
  state_->listener = nullptr;
  for (const auto& [id, connection] : state_->connections) connection->Close();
}

void ControlServer::Reply(uint64_t request, std::string_view json) {
  const auto found = state_->connections.find(request);
  if (found != state_->connections.end()) found->second->Reply(json);
}

std::string ControlServer::ErrorReply(std::string_view text) {
  conf::Diagnostics diagnostics;
  diagnostics.Add({}, "", std::string(text));
  std::string line;
  JsonWriter json(line);
  json.BeginObject().Member("ok", false).Key("diagnostics").Raw(diagnostics.ToJson());
  json.Member("text", "sluice: " + std::string(text) + "\n").EndObject();
  return line;
}

}  // namespace sluice
