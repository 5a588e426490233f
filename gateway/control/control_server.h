// The control socket, served by the controller for the command line: one request of one line of
// JSON a connection, {"command":"reload"}, and one line of JSON as answer. Other members of the
// request are texts, which the command knows. Input is bounded in size
// and time, connections in number. Master makes the socket, so it outlives a controller.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "gateway/base/result.h"
#include "gateway/base/unique_fd.h"
#include "gateway/net/listener.h"
#include "gateway/net/loop.h"

namespace sluice {

struct ControlRequest {
  std::string command;
  std::map<std::string, std::string> arguments;  // all other members

  // The argument of that name; empty when there is none.
  std::string Argument(const std::string& name) const {
    const auto found = arguments.find(name);
    return found == arguments.end() ? std::string() : found->second;
  }
};

class ControlServer {
 public:
  static constexpr size_t kMaxConnections = 16;
  static constexpr size_t kMaxRequest = 4096;
  static constexpr Duration kPatience =
      seconds(10);  // for a request, and for its answer to be read

  // Is given each request that is well-formed; Reply answers it, now or later.
  using OnCommand = std::function<void(uint64_t id, const ControlRequest& request)>;

  static Result<std::unique_ptr<ControlServer>> Make(Loop& loop, UniqueFd socket,
                                                     OnCommand on_command);
  ~ControlServer();

  // Ignored when the one who asked has gone. `json` is one line without its end.
  void Reply(uint64_t request, std::string_view json);
  static std::string ErrorReply(std::string_view text);

 private:
  class Connection;
  // What outlives this object until the loop has closed the connections.
  struct State;

  explicit ControlServer(std::shared_ptr<State> state) : state_(std::move(state)) {}

  std::shared_ptr<State> state_;
  std::unique_ptr<Listener> listener_;
};

}  // namespace sluice
