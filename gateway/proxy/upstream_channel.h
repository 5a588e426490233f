// What a call sees of the way to its endpoint: an HTTP/1 connection for as long as the request has
// it, or one stream of an HTTP/2 connection. Tells the call what comes back.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "conf/resources.h"
#include "gateway/base/time.h"
#include "gateway/http/headers.h"

namespace sluice {

class TlsClientContext;
struct Endpoint;
struct UpstreamRequest;

// How a connection is made, besides its endpoint.
struct UpstreamWay {
  Duration timeout{};     // to connect, and for the TLS handshake
  std::string preface{};  // a PROXY header that is sent before anything else; may be empty
  std::shared_ptr<const TlsClientContext> tls{};  // null: plain text
  std::string tls_name{};                         // who is expected there
  bool counted = false;  // has a place among the upstream's connections, which it gives back

  // Another identity at the other end, or another one of ours, is another connection.
  bool IsSame(const UpstreamWay& other) const {
    return tls == other.tls && (tls == nullptr || tls_name == other.tls_name);
  }
};

class UpstreamChannel {
 public:
  // Begins the exchange. What `request` refers to is lent until the callback ends.
  virtual void SendHead(const UpstreamRequest& request, const conf::UpstreamTimeouts& timeouts) = 0;
  virtual void SendBody(std::string_view bytes) = 0;
  virtual void FinishBody(const HeaderList& trailers) = 0;

  // The response head that was just given opens a tunnel: from now on bytes go both ways as they
  // are, and FinishBody ends our direction only.
  virtual void BeginTunnel() = 0;

  virtual void PauseReading() = 0;
  virtual void ResumeReading() = 0;

  // One of these ends the call's use of it. Release, after a whole response: keeps the connection
  // for the next call if that is safe. Abort: nobody wants the rest.
  virtual void Release(const conf::UpstreamConfig& config) = 0;
  virtual void Abort() = 0;

  // The connection has carried requests before, and nothing of this response has come.
  virtual bool is_reused() const = 0;
  virtual const Endpoint& endpoint() const = 0;

 protected:
  ~UpstreamChannel() = default;
};

}  // namespace sluice
