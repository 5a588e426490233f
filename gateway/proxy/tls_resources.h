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
  // (may be null) has for hosts and upstreams whose settings are the same is taken over: a reload
  // costs what it changes, and connections and sessions to upstreams stay useful.
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
  // The same for the active checks of that upstream; null: they are not of type https.
  const std::shared_ptr<const TlsClientContext>& probe(size_t index) const {
    return probes_[index];
  }
  // May a request for `path` of that host come from a client without a certificate?
  bool SkipsVerification(const TlsIdentity& identity, std::string_view path) const;

  // What does not stop the gateway but should be known: "ssls[0].cert: expired on ...".
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  class Builder;

  // What one object of `ssls` has become.
  struct Host {
    std::shared_ptr<const TlsIdentity> identity;
    std::vector<Regex> skip_patterns;
  };
  struct KnownHost {
    std::string settings;  // a digest
    std::shared_ptr<const Host> host;
  };

  TlsResources() = default;

  std::shared_ptr<const TlsServerContext> server_;
  std::vector<std::shared_ptr<const TlsClientContext>> upstreams_;
  std::vector<std::shared_ptr<const TlsClientContext>> probes_;
  std::map<std::string, std::shared_ptr<const TlsClientContext>> clients_;  // by their settings
  std::map<std::string, KnownHost, std::less<>> hosts_;                     // by id
  std::vector<std::string> warnings_;
};

}  // namespace sluice
