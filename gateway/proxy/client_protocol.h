// What a client connection sees of the protocol that is spoken on it: HTTP/1 or HTTP/2. Owned by
// the connection, which hands its events on.
#pragma once

#include <string_view>

#include "gateway/base/result.h"

namespace sluice {

class ClientProtocol {
 public:
  virtual ~ClientProtocol() = default;

  virtual void Start() = 0;  // the connection is ready for requests
  virtual void OnRead(std::string_view bytes) = 0;
  virtual void OnEof() = 0;
  virtual void OnBlocked() = 0;
  virtual void OnWritable() = 0;
  virtual void OnDeadline() = 0;  // the one set by ClientConnection::SetDeadline
  virtual void BeginDrain() = 0;  // no further request after those under way
  // Ends the tunnels in order, and with them the connection, soon. False: there are none.
  virtual bool EndTunnels(ErrorCode reason) = 0;
  virtual void OnLost(ErrorCode reason) = 0;  // the connection closes now: end what is under way
};

}  // namespace sluice
