// What a configuration needs of TLS, made of its texts: the certificates that listeners show and
// how connections to upstreams are secured. Immutable; built off the loop thread beside a snapshot
// by every process that checks or serves it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "conf/diagnostics.h"
#include "conf/resources.h"
#include "gateway/net/tls_context.h"
#include "gateway/routing/regex.h"

namespace sluice {

class TlsResources {
 public:
  // Null when `diagnostics` was added to. `ticket_keys` may be null to check only. What `previous`
  // (may be null) has for upstreams whose settings are the same is taken over, so that their
  // connections and sessions stay useful.
  static std::shared_ptr<const TlsResources> Make(const conf::Config& config,
                                                  std::shared_ptr<const TicketKeys> ticket_keys,
                                                  const TlsResources* previous,
                                                  conf::Diagnostics& diagnostics);

  // Null: there are no certificates to show, and no listener with TLS.
  const std::shared_ptr<const TlsServerContext>& server() const { return server_; }
  // By the index of the upstream; null: plain text.
  const std::shared_ptr<const TlsClientContext>& upstream(size_t index) const {
    return upstreams_[index];
  }
  // May a request for `path` of that host come from a client without a certificate?
  bool SkipsVerification(const TlsIdentity& identity, std::string_view path) const;

  // What does not stop the gateway but should be known: "ssls[0].cert: expired on ...".
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  class Builder;

  TlsResources() = default;

  std::shared_ptr<const TlsServerContext> server_;
  std::vector<std::shared_ptr<const TlsClientContext>> upstreams_;
  std::map<std::string, std::shared_ptr<const TlsClientContext>> clients_;  // by their settings
  std::map<std::string, std::vector<Regex>, std::less<>> skip_patterns_;    // by id of identity
  std::vector<std::string> warnings_;
};

}  // namespace sluice
