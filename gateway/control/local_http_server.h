// HTTP/1 for the controller's own endpoints. Requests without a body, one at a time a connection;
// everything a peer can send is bounded in size, time and number. Master makes the socket, so that
// it outlives a controller.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "gateway/base/result.h"
#include "gateway/base/time.h"
#include "gateway/base/unique_fd.h"
#include "gateway/http/message.h"
#include "gateway/net/listener.h"
#include "gateway/net/loop.h"

namespace sluice {

class LocalHttpServer {
 public:
  static constexpr size_t kMaxConnections = 16;
  static constexpr Duration kHeadLimit = seconds(5);    // for a head to arrive
  static constexpr Duration kIdleLimit = seconds(120);  // for the next request
  static constexpr Duration kReplyLimit = seconds(60);  // for a reply to be taken

  struct Reply {
    int status = 200;
    std::string_view content_type;                 // a literal
    std::shared_ptr<const std::string> body = {};  // many may get the same
    std::string_view allow = {};                   // a literal: of a 405
  };

  // Is given each request, whose head is valid until the call returns; Send answers it, now or
  // later.
  using OnRequest = std::function<void(uint64_t id, const RequestHead& head)>;

  LocalHttpServer(Loop& loop, UniqueFd socket, OnRequest on_request);
  ~LocalHttpServer();
  LocalHttpServer(const LocalHttpServer&) = delete;
  LocalHttpServer& operator=(const LocalHttpServer&) = delete;

  // Ignored when the one who asked has gone.
  void Send(uint64_t id, Reply reply);

 private:
  class Connection;
  // What outlives this object until the loop has closed the connections.
  struct State;

  std::shared_ptr<State> state_;
  std::unique_ptr<Listener> listener_;
};

}  // namespace sluice
