// Certificates: `ssls`, the gateway's tls section, and the tls section of an upstream.
#include <algorithm>

#include "conf/decode.h"
#include "gateway/base/text.h"

namespace sluice::conf {
namespace {

constexpr size_t kMaximumPem = 1024 * 1024;

// The text is checked by those who use it. It may be a private key: no message may show it.
struct Pem {
  std::optional<PemText> operator()(const Place& place) const {
    const Node& node = place.node;
    if (node.is_string() && node.text.size() <= kMaximumPem &&
        node.text.find("-----BEGIN ") != std::string::npos) {
      return PemText{node.text, place.Path(), node.position};
    }
    place.Fail("expected PEM text (-----BEGIN ...) of at most 1 MiB",
               "a file is read by ${file:path}");
    return std::nullopt;
  }
};

struct Base64 {
  std::optional<PemText> operator()(const Place& place) const {
    const Node& node = place.node;
    const bool valid =
        node.is_string() && !node.text.empty() && node.text.size() <= kMaximumPem &&
        std::all_of(node.text.begin(), node.text.end(), [](char c) {
          const char lower = AsciiLower(c);
          return IsDigit(c) || (lower >= 'a' && lower <= 'z') || c == '+' || c == '/' || c == '=';
        });
    if (valid) return PemText{node.text, place.Path(), node.position};
    place.Fail("expected a DER-encoded OCSP response in base64",
               "a file is read by ${base64:path}");
    return std::nullopt;
  }
};

struct ServerName {
  std::optional<std::string> operator()(const Place& place) const {
    constexpr std::string_view kExpected = "a host name, *.name for one more label, or * for all";
    if (!place.node.is_string()) return place.Expected(kExpected);
    const std::string name = ToLower(place.node.text);
    std::string_view rest = name;
    if (rest == "*") return name;
    if (rest.starts_with("*.")) rest.remove_prefix(2);
    if (IsHostName(rest)) return name;
    return place.Expected(kExpected);
  }
};

struct Protocols {
  std::optional<TlsProtocols> operator()(const Place& place) const {
    // RFC 8996 forbids TLS 1.1.
    static const ListOf<Choice<int>> kList{.item = {{{"TLSv1.2", 2}, {"TLSv1.3", 3}}, {"TLSv1.1"}},
                                           .min = 1};
    const auto list = kList(place);
    if (!list || list->empty()) return std::nullopt;
    TlsProtocols protocols{false, false};
    for (const int one : *list) (one == 2 ? protocols.tls12 : protocols.tls13) = true;
    return protocols;
  }
};

struct Pattern {
  std::optional<PemText> operator()(const Place& place) const {
    const auto text = Text{1, 4096}(place);
    if (!text) return std::nullopt;
    return PemText{*text, place.Path(), place.node.position};
  }
};

struct ClientVerification {
  std::optional<std::optional<SslClientConfig>> operator()(const Place& place) const {
    using T = SslClientConfig;
    static const Fields<T> kFields = {
        Required(Bind("ca", &T::ca, Pem{})),
        Bind("depth", &T::depth, Integer<int>{0, 100}),
        Bind("skip_mtls_uri_regex", &T::skip_mtls_uri_regex, ListOf<Pattern>{.item = {}, .min = 1}),
    };
    SslClientConfig client;
    if (!ReadFields(place, kFields, client)) return std::nullopt;
    return client;
  }
};

// What stands in the file, before keys and certificates are put together.
struct SslDraft {
  SslConfig ssl;
  PemText cert, key, ocsp;
  std::vector<PemText> certs, keys, ocsps;
  std::vector<std::string> single_sni;
};

template <typename Member, typename Type>
Field<SslDraft> BindSsl(std::string_view name, Member SslConfig::*member, Type type) {
  return {name, [member, type](const Place& place, SslDraft& draft) {
            if (auto value = type(place)) draft.ssl.*member = *std::move(value);
          }};
}

struct Status {
  std::optional<bool> operator()(const Place& place) const {
    const auto value = ReadInteger(place, 0, 1);
    return value ? std::optional(*value == 1) : std::nullopt;
  }
};

const Fields<SslDraft>& SslFields() {
  using T = SslDraft;
  static const Fields<T> kFields = [] {
    Fields<T> fields = {
        BindSsl("id", &SslConfig::id, Id{}),
        Accept<T>("desc", Text{0, 256}),
        BindSsl("type", &SslConfig::for_upstreams,
                Choice<bool>{{{"server", false}, {"client", true}}}),
        Required(Bind("cert", &T::cert, Pem{})),
        Required(Bind("key", &T::key, Pem{})),
        Bind("certs", &T::certs, ListOf<Pem>{.item = {}, .unique = false}),
        Bind("keys", &T::keys, ListOf<Pem>{.item = {}, .unique = false}),
        Bind("ocsp", &T::ocsp, Base64{}),
        Bind("ocsps", &T::ocsps, ListOf<Base64>{.item = {}, .unique = false}),
        Bind("sni", &T::single_sni, OneOf<ServerName>{}),
        BindSsl("snis", &SslConfig::snis, ListOf<ServerName>{.item = {}, .min = 1}),
        BindSsl("client", &SslConfig::client, ClientVerification{}),
        BindSsl("ssl_protocols", &SslConfig::protocols, Protocols{}),
        BindSsl("status", &SslConfig::enabled, Status{}),
    };
    AddDescriptive(fields);
    return fields;
  }();
  return kFields;
}

bool CheckNames(const Place& place, bool for_upstreams) {
  const bool one = place.node.Find("sni") != nullptr;
  const bool list = place.node.Find("snis") != nullptr;
  if (one && list) {
    place.Fail("expected \"sni\" or \"snis\", got both");
  } else if (!one && !list && !for_upstreams) {
    place.Fail("expected the field \"sni\" or \"snis\", which is missing");
  } else if ((one || list) && for_upstreams) {
    place.Fail("a certificate of type client has no \"sni\" and no \"snis\"");
  } else {
    return true;
  }
  return false;
}

}  // namespace

SslConfig DecodeSsl(const Place& place) {
  SslDraft draft;
  SslConfig& ssl = draft.ssl;
  ssl.position = place.node.position;
  ssl.path = place.Path();
  if (!ReadFields(place, SslFields(), draft)) return std::move(ssl);
  if (!CheckNames(place, ssl.for_upstreams)) return std::move(ssl);
  if (draft.certs.size() != draft.keys.size()) {
    place.Fail("expected as many \"keys\" as \"certs\", got " + std::to_string(draft.keys.size()) +
               " and " + std::to_string(draft.certs.size()));
    return std::move(ssl);
  }
  if (draft.ocsps.size() > draft.certs.size()) {
    place.Fail("expected at most as many \"ocsps\" as \"certs\"");
    return std::move(ssl);
  }
  draft.ocsps.resize(draft.certs.size());
  ssl.pairs.push_back({std::move(draft.cert), std::move(draft.key), std::move(draft.ocsp)});
  for (size_t i = 0; i < draft.certs.size(); ++i) {
    ssl.pairs.push_back(
        {std::move(draft.certs[i]), std::move(draft.keys[i]), std::move(draft.ocsps[i])});
  }
  for (std::string& sni : draft.single_sni) ssl.snis.push_back(std::move(sni));
  return std::move(ssl);
}

std::optional<GatewayTlsConfig> GatewayTls::operator()(const Place& place) const {
  using T = GatewayTlsConfig;
  static const Fields<T> kFields = {
      Bind("unknown_sni", &T::reject_unknown_sni,
           Choice<bool>{{{"default", false}, {"reject", true}}}),
      Bind("default", &T::default_ssl, Id{}),
      Bind("ssl_ciphers", &T::ciphers, Text{1, 4096}),
      Bind("ticket_rotation", &T::ticket_rotation, TimeSpan{.min = seconds(1)}),
  };
  T tls;
  tls.position = place.node.position;
  if (!ReadFields(place, kFields, tls)) return std::nullopt;
  return tls;
}

std::optional<UpstreamTlsConfig> UpstreamTls::operator()(const Place& place) const {
  using T = UpstreamTlsConfig;
  static const Fields<T> kFields = {
      Bind("client_cert", &T::cert, Pem{}),
      Bind("client_key", &T::key, Pem{}),
      Bind("client_cert_id", &T::client_cert_id, Id{}),
      Bind("verify", &T::verify, Boolean{}),
      Bind("ca", &T::ca, Pem{}),
  };
  T tls;
  tls.position = place.node.position;
  tls.path = place.Path();
  if (!ReadFields(place, kFields, tls)) return std::nullopt;
  const Node& node = place.node;
  const bool cert = node.Find("client_cert") != nullptr;
  const bool key = node.Find("client_key") != nullptr;
  if (cert != key) place.Fail("expected \"client_cert\" and \"client_key\" together");
  if (!tls.client_cert_id.empty() && (cert || key)) {
    place.Fail("expected \"client_cert_id\" or \"client_cert\", got both");
  }
  if (!tls.verify && node.Find("ca") != nullptr) {
    place.Fail("\"ca\" has no effect with verify: false");
  }
  return tls;
}

}  // namespace sluice::conf
