#include "gateway/proxy/tls_resources.h"

#include <algorithm>
#include <ctime>
#include <optional>
#include <utility>

namespace sluice {
namespace {

// A digest of texts, each with its size in front, so that no two lists look the same.
class Settings {
 public:
  Settings& Add(std::string_view text) {
    text_ += std::to_string(text.size()) + ':';
    text_ += text;
    return *this;
  }
  Settings& Add(bool value) { return Add(std::string_view(value ? "1" : "0")); }
  std::string Digest() const { return Sha256(text_); }

 private:
  std::string text_;
};

// What all hosts have in common.
struct Common {
  std::string ciphers{kDefaultTlsCiphers};
  Duration ticket_lifetime{};
};

// Everything that a host is made of.
std::string SettingsOf(const conf::SslConfig& ssl, const Common& common) {
  Settings settings;
  settings.Add(ssl.id).Add(common.ciphers).Add(std::to_string(common.ticket_lifetime.count()));
  settings.Add(ssl.protocols.tls12).Add(ssl.protocols.tls13);
  settings.Add(std::to_string(ssl.snis.size()));
  for (const std::string& name : ssl.snis) settings.Add(name);
  for (const conf::SslConfig::Pair& pair : ssl.pairs) {
    settings.Add(pair.cert.text).Add(pair.key.text).Add(pair.ocsp.text);
  }
  if (ssl.client) {
    settings.Add("client").Add(ssl.client->ca.text).Add(std::to_string(ssl.client->depth));
    for (const conf::PemText& pattern : ssl.client->skip_mtls_uri_regex) settings.Add(pattern.text);
  }
  return settings.Digest();
}

}  // namespace

// Reads what the configuration has as text; each mistake is reported where it stands. A mistake in
// a private key is reported at its certificate, so that no excerpt shows the key.
class TlsResources::Builder {
 public:
  Builder(const conf::Config& config, TlsResources& out, const TlsResources* previous,
          conf::Diagnostics& diagnostics)
      : config_(config), out_(out), previous_(previous), diagnostics_(diagnostics) {}

  void BuildServer(std::shared_ptr<const TicketKeys> ticket_keys);
  void BuildUpstreams();

 private:
  using Trust = std::shared_ptr<const TlsTrust>;

  void Fail(const conf::PemText& text, const Error& error) {
    diagnostics_.Add(text.position, text.path, error.detail);
  }
  std::optional<TlsCertificate> ReadPair(const conf::PemText& cert, const conf::PemText& key,
                                         const conf::PemText* ocsp);
  void WarnOf(const conf::PemText& cert, const TlsCertificate& certificate);
  bool ReadPatterns(const conf::SslConfig& ssl, Host& host);
  std::shared_ptr<const Host> ReadHost(const conf::SslConfig& ssl, const Common& common);
  std::shared_ptr<const Host> FindHost(const conf::SslConfig& ssl, const Common& common);
  Trust ReadTrust(const conf::PemText& ca);
  Trust SystemTrust(const conf::UpstreamTlsConfig& tls);
  std::shared_ptr<const TlsClientContext> MakeClient(const conf::UpstreamTlsConfig& tls,
                                                     bool verify, bool http2);

  const conf::Config& config_;
  TlsResources& out_;
  const TlsResources* previous_;
  conf::Diagnostics& diagnostics_;
  std::map<std::string_view, Trust> trusts_;  // by text: many objects may name the same
  Trust system_;
};

std::optional<TlsCertificate> TlsResources::Builder::ReadPair(const conf::PemText& cert,
                                                              const conf::PemText& key,
                                                              const conf::PemText* ocsp) {
  auto certificate = TlsCertificate::Make(cert.text);
  if (!certificate.has_value()) {
    Fail(cert, certificate.error());
    return std::nullopt;
  }
  if (const Status set = certificate->SetKey(key.text); !set.has_value()) {
    diagnostics_.Add(cert.position, key.path, set.error().detail);
    return std::nullopt;
  }
  if (ocsp != nullptr && !ocsp->text.empty()) {
    if (const Status set = certificate->SetOcspResponse(ocsp->text); !set.has_value()) {
      Fail(*ocsp, set.error());
      return std::nullopt;
    }
  }
  return std::move(*certificate);
}

void TlsResources::Builder::WarnOf(const conf::PemText& cert, const TlsCertificate& certificate) {
  const std::string problem = certificate.ValidityProblem(std::time(nullptr));
  if (!problem.empty()) out_.warnings_.push_back(cert.path + ": the certificate " + problem);
}

TlsResources::Builder::Trust TlsResources::Builder::ReadTrust(const conf::PemText& ca) {
  Trust& known = trusts_[ca.text];
  if (known != nullptr) return known;
  auto made = TlsTrust::FromPem(ca.text);
  if (made.has_value()) {
    known = std::move(*made);
  } else {
    Fail(ca, made.error());
  }
  return known;
}

TlsResources::Builder::Trust TlsResources::Builder::SystemTrust(
    const conf::UpstreamTlsConfig& tls) {
  if (system_ != nullptr) return system_;
  auto made = TlsTrust::System();
  if (made.has_value()) {
    system_ = std::move(*made);
  } else {
    diagnostics_.Add(tls.position, tls.path, made.error().detail);
  }
  return system_;
}

bool TlsResources::Builder::ReadPatterns(const conf::SslConfig& ssl, Host& host) {
  bool good = true;
  for (const conf::PemText& pattern : ssl.client->skip_mtls_uri_regex) {
    auto regex = Regex::Make(pattern.text, Regex::Case::kSensitive);
    if (regex.has_value()) {
      host.skip_patterns.push_back(std::move(*regex));
    } else {
      Fail(pattern, regex.error());
      good = false;
    }
  }
  return good;
}

// Null when it was refused.
std::shared_ptr<const TlsResources::Host> TlsResources::Builder::ReadHost(
    const conf::SslConfig& ssl, const Common& common) {
  Host host;
  TlsIdentityConfig identity;
  identity.id = ssl.id;
  identity.names = ssl.snis;
  identity.tls12 = ssl.protocols.tls12;
  identity.tls13 = ssl.protocols.tls13;
  identity.ciphers = common.ciphers;
  identity.ticket_lifetime = common.ticket_lifetime;
  for (const conf::SslConfig::Pair& pair : ssl.pairs) {
    auto certificate = ReadPair(pair.cert, pair.key, &pair.ocsp);
    if (certificate) identity.certificates.push_back(std::move(*certificate));
  }
  bool good = identity.certificates.size() == ssl.pairs.size();
  if (ssl.client) {
    TlsClientVerification client{ReadTrust(ssl.client->ca), ssl.client->depth,
                                 !ssl.client->skip_mtls_uri_regex.empty()};
    good = client.trust != nullptr && ReadPatterns(ssl, host) && good;
    identity.client = std::move(client);
  }
  if (!good) return nullptr;
  auto made = TlsIdentity::Make(std::move(identity));
  if (!made.has_value()) {
    diagnostics_.Add(ssl.position, ssl.path, made.error().detail);
    return nullptr;
  }
  host.identity = std::move(*made);
  return std::make_shared<const Host>(std::move(host));
}

// As in the previous revision, if nothing of it has changed.
std::shared_ptr<const TlsResources::Host> TlsResources::Builder::FindHost(
    const conf::SslConfig& ssl, const Common& common) {
  const std::string settings = SettingsOf(ssl, common);
  std::shared_ptr<const Host> host;
  if (previous_ != nullptr) {
    const auto found = previous_->hosts_.find(ssl.id);
    if (found != previous_->hosts_.end() && found->second.settings == settings) {
      host = found->second.host;
    }
  }
  if (host == nullptr) host = ReadHost(ssl, common);
  if (host == nullptr) return nullptr;
  for (size_t i = 0; i < ssl.pairs.size(); ++i) {
    WarnOf(ssl.pairs[i].cert, host->identity->certificates()[i]);
  }
  out_.hosts_[ssl.id] = {settings, host};
  return host;
}

void TlsResources::Builder::BuildServer(std::shared_ptr<const TicketKeys> ticket_keys) {
  const conf::GatewayTlsConfig& tls = config_.gateway.tls;
  TlsServerConfig server;
  server.default_id = tls.default_ssl;
  server.reject_unknown = tls.reject_unknown_sni;
  Common common;
  if (!tls.ciphers.empty()) common.ciphers = tls.ciphers;
  common.ticket_lifetime = tls.ticket_rotation;
  if (const Status status = CheckTlsCiphers(common.ciphers); !status.has_value()) {
    diagnostics_.Add(tls.position, "gateway.tls.ssl_ciphers", status.error().detail);
    return;
  }
  size_t wanted = 0;
  for (const conf::SslConfig& ssl : config_.ssls) {
    if (!ssl.enabled) continue;
    if (ssl.for_upstreams) {
      const conf::SslConfig::Pair& pair = ssl.pairs.front();
      const auto certificate = ReadPair(pair.cert, pair.key, nullptr);
      if (certificate) WarnOf(pair.cert, *certificate);
      continue;
    }
    ++wanted;
    if (const auto host = FindHost(ssl, common)) server.identities.push_back(host->identity);
  }
  if (server.identities.size() < wanted) return;
  if (wanted == 0) {
    for (const conf::ListenConfig& listen : config_.gateway.listen) {
      if (!listen.tls) continue;
      diagnostics_.Add(listen.position, "gateway.listen",
                       "a listener with TLS needs a certificate in \"ssls\"; there is none");
    }
    return;
  }
  auto made = TlsServerContext::Make(std::move(server), std::move(ticket_keys));
  if (made.has_value()) {
    out_.server_ = std::move(*made);
  } else {
    diagnostics_.Add(tls.position, "gateway.tls", made.error().detail);
  }
}

std::shared_ptr<const TlsClientContext> TlsResources::Builder::MakeClient(
    const conf::UpstreamTlsConfig& tls, bool verify, bool http2) {
  const conf::PemText* cert = &tls.cert;
  const conf::PemText* key = &tls.key;
  if (tls.client_cert >= 0) {
    const conf::SslConfig& ssl = config_.ssls[static_cast<size_t>(tls.client_cert)];
    if (!ssl.enabled) {
      diagnostics_.Add(tls.position, tls.path + ".client_cert_id",
                       "the ssl object \"" + ssl.id + "\" is disabled");
      return nullptr;
    }
    cert = &ssl.pairs.front().cert;
    key = &ssl.pairs.front().key;
  }
  const std::string settings =
      Settings().Add(http2).Add(verify).Add(tls.ca.text).Add(cert->text).Add(key->text).Digest();
  auto& known = out_.clients_[settings];
  if (known != nullptr) return known;
  if (previous_ != nullptr) {
    const auto found = previous_->clients_.find(settings);
    if (found != previous_->clients_.end()) return known = found->second;
  }
  TlsClientConfig client;
  client.http2 = http2;
  if (verify) client.trust = tls.ca.text.empty() ? SystemTrust(tls) : ReadTrust(tls.ca);
  if (verify && client.trust == nullptr) return nullptr;
  if (!cert->text.empty()) {
    client.certificate = ReadPair(*cert, *key, nullptr);
    if (!client.certificate) return nullptr;
  }
  auto made = TlsClientContext::Make(std::move(client));
  if (made.has_value()) return known = std::move(*made);
  diagnostics_.Add(tls.position, tls.path, made.error().detail);
  return nullptr;
}

void TlsResources::Builder::BuildUpstreams() {
  for (const conf::UpstreamConfig& upstream : config_.upstreams) {
    const conf::UpstreamTlsConfig& tls = upstream.tls;
    out_.upstreams_.push_back(upstream.tls_scheme ? MakeClient(tls, tls.verify, upstream.http2)
                                                  : nullptr);
    const bool probe = upstream.checks && upstream.checks->active.type == conf::CheckType::kHttps;
    out_.probes_.push_back(
        probe ? MakeClient(tls, upstream.checks->active.verify.value_or(tls.verify), false)
              : nullptr);
  }
}

std::shared_ptr<const TlsResources> TlsResources::Make(
    const conf::Config& config, std::shared_ptr<const TicketKeys> ticket_keys,
    const TlsResources* previous, conf::Diagnostics& diagnostics) {
  if (ticket_keys == nullptr) {
    auto made = TicketKeys::Make();
    if (!made.has_value()) {
      diagnostics.Add({}, "", made.error().detail);
      return nullptr;
    }
    ticket_keys = std::move(*made);
  }
  const size_t before = diagnostics.total();
  auto out = std::shared_ptr<TlsResources>(new TlsResources());
  Builder builder(config, *out, previous, diagnostics);
  builder.BuildServer(std::move(ticket_keys));
  builder.BuildUpstreams();
  return diagnostics.total() == before ? out : nullptr;
}

bool TlsResources::SkipsVerification(const TlsIdentity& identity, std::string_view path) const {
  const auto found = hosts_.find(identity.id());
  if (found == hosts_.end()) return false;
  const std::vector<Regex>& patterns = found->second.host->skip_patterns;
  return std::any_of(patterns.begin(), patterns.end(), [&](const Regex& regex) {
    return regex.Search(path) == Regex::Outcome::kMatch;
  });
}

}  // namespace sluice
