#include <algorithm>
#include <ctime>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/net/stream.h"
#include "gateway/net/tls_context.h"
#include "gateway/net/tls_session.h"
#include "tests/unit/net/run_until.h"
#include "tests/unit/net/test_certificates.h"

namespace sluice {
namespace {

using testing::HasSubstr;

TestCertificates& Certificates() {
  static TestCertificates certificates;
  static const bool kMade = [] {
    certificates.Issue("a", "DNS:a.test,DNS:*.wild.test");
    certificates.Issue("b", "DNS:b.test,IP:127.0.0.1");
    certificates.Issue("rsa", "DNS:a.test", "rsa");
    certificates.Issue("client", "DNS:client");
    certificates.Issue("old", "DNS:old.test", "ec", "-1");
    return true;
  }();
  static_cast<void>(kMade);
  return certificates;
}

TlsCertificate Certificate(const std::string& name) {
  auto certificate = std::move(*TlsCertificate::Make(Certificates().Read(name + ".pem")));
  EXPECT_TRUE(certificate.SetKey(Certificates().Read(name + ".key")).has_value());
  return certificate;
}

std::shared_ptr<const TlsTrust> Trust() {
  return std::move(*TlsTrust::FromPem(Certificates().Read("ca.pem")));
}

TlsIdentityConfig Identity(const std::string& name, std::vector<std::string> names) {
  TlsIdentityConfig identity;
  identity.id = name;
  identity.names = std::move(names);
  identity.certificates.push_back(Certificate(name));
  return identity;
}

// A server's configuration before its identities are made.
struct Hosts {
  std::vector<TlsIdentityConfig> identities;
  std::string default_id;
  bool reject_unknown = false;
};

Hosts TwoHosts() {
  Hosts config;
  config.identities.push_back(Identity("a", {"a.test", "*.wild.test"}));
  config.identities.push_back(Identity("b", {"b.test"}));
  return config;
}

std::shared_ptr<const TicketKeys> Keys() {
  static const std::shared_ptr<const TicketKeys> kKeys = std::move(*TicketKeys::Make());
  return kKeys;
}

Result<std::shared_ptr<const TlsServerContext>> MakeServer(
    Hosts hosts, std::shared_ptr<const TicketKeys> keys = Keys()) {
  TlsServerConfig config;
  config.default_id = hosts.default_id;
  config.reject_unknown = hosts.reject_unknown;
  for (TlsIdentityConfig& one : hosts.identities) {
    SLUICE_ASSIGN_OR_RETURN(auto identity, TlsIdentity::Make(std::move(one)));
    config.identities.push_back(std::move(identity));
  }
  return TlsServerContext::Make(std::move(config), std::move(keys));
}

std::shared_ptr<const TlsServerContext> Server(Hosts hosts) {
  return std::move(*MakeServer(std::move(hosts)));
}

std::shared_ptr<const TlsClientContext> Client(std::shared_ptr<const TlsTrust> trust = Trust(),
                                               const std::string& certificate = {}) {
  TlsClientConfig config;
  config.trust = std::move(trust);
  if (!certificate.empty()) config.certificate = Certificate(certificate);
  return std::move(*TlsClientContext::Make(std::move(config)));
}

// --- certificates ---------------------------------------------------------------------------

TEST(TlsCertificateTest, RefusesWhatIsNoCertificate) {
  const auto made = TlsCertificate::Make("-----BEGIN CERTIFICATE-----\nAAAA\n");
  ASSERT_FALSE(made.has_value());
  EXPECT_THAT(made.error().detail, HasSubstr("certificate 1 cannot be read"));
  EXPECT_FALSE(TlsCertificate::Make("").has_value());
}

TEST(TlsCertificateTest, RefusesABrokenChain) {
  const auto made =
      TlsCertificate::Make(Certificates().Read("a.pem") + "-----BEGIN CERTIFICATE-----\nAAAA\n");
  ASSERT_FALSE(made.has_value());
  EXPECT_THAT(made.error().detail, HasSubstr("certificate 2 cannot be read"));
}

TEST(TlsCertificateTest, RefusesTheKeyOfAnother) {
  auto certificate = std::move(*TlsCertificate::Make(Certificates().Read("a.pem")));
  const Status set = certificate.SetKey(Certificates().Read("b.key"));
  ASSERT_FALSE(set.has_value());
  EXPECT_THAT(set.error().detail, HasSubstr("does not belong to the certificate"));
  EXPECT_FALSE(certificate.SetKey("nothing").has_value());
}

TEST(TlsCertificateTest, RefusesAKeyWithAPassPhraseWithoutAsking) {
  Certificates().Run("ec -in a.key -aes128 -passout pass:secret -out sealed.key");
  auto certificate = std::move(*TlsCertificate::Make(Certificates().Read("a.pem")));
  EXPECT_FALSE(certificate.SetKey(Certificates().Read("sealed.key")).has_value());
}

TEST(TlsCertificateTest, SaysWhenItIsNotValid) {
  EXPECT_EQ(Certificate("a").ValidityProblem(std::time(nullptr)), "");
  EXPECT_THAT(Certificate("a").ValidityProblem(std::time(nullptr) + 86400 * 30),
              HasSubstr("expired on 20"));
  EXPECT_THAT(Certificate("a").ValidityProblem(0), HasSubstr("not valid before 20"));
}

TEST(TlsCertificateTest, RefusesAnOcspResponseThatIsNone) {
  EXPECT_FALSE(Certificate("a").SetOcspResponse("nonsense").has_value());
}

// --- contexts -------------------------------------------------------------------------------

TEST(TlsServerContextTest, FindsNamesExactlyAndByOneLabel) {
  const auto server = Server(TwoHosts());
  EXPECT_EQ(server->Find("a.test")->id(), "a");
  EXPECT_EQ(server->Find("b.test")->id(), "b");
  EXPECT_EQ(server->Find("x.wild.test")->id(), "a");
  EXPECT_EQ(server->Find("x.y.wild.test"), nullptr);
  EXPECT_EQ(server->Find("wild.test"), nullptr);
  EXPECT_EQ(server->Find(".wild.test"), nullptr);
  EXPECT_EQ(server->Find(""), nullptr);
  EXPECT_EQ(server->Find("c.test"), nullptr);
  EXPECT_EQ(server->fallback().id(), "a");
}

TEST(TlsServerContextTest, TakesTheNamedDefault) {
  Hosts config = TwoHosts();
  config.default_id = "b";
  EXPECT_EQ(Server(std::move(config))->fallback().id(), "b");
  config = TwoHosts();
  config.default_id = "c";
  EXPECT_FALSE(MakeServer(std::move(config)).has_value());
}

TEST(TlsServerContextTest, RefusesANameTwice) {
  Hosts config = TwoHosts();
  config.identities[1].names.push_back("a.test");
  const auto made = MakeServer(std::move(config));
  ASSERT_FALSE(made.has_value());
  EXPECT_THAT(made.error().detail, HasSubstr("a.test is there twice"));
}

TEST(TlsServerContextTest, RefusesTwoCertificatesOfOneKind) {
  Hosts config = TwoHosts();
  config.identities[0].certificates.push_back(Certificate("b"));
  EXPECT_FALSE(MakeServer(std::move(config)).has_value());
}

TEST(TlsServerContextTest, ChecksCiphers) {
  EXPECT_TRUE(CheckTlsCiphers(std::string(kDefaultTlsCiphers)).has_value());
  EXPECT_FALSE(CheckTlsCiphers("TLS_AES_128_NONSENSE").has_value());
  EXPECT_FALSE(CheckTlsCiphers("NONSENSE").has_value());
}

// --- connections ----------------------------------------------------------------------------

// One end of a connection that records what happens to it.
class End final : public StreamObserver {
 public:
  explicit End(Loop& loop) : stream(loop, *this) {}

  void OnConnected(Status) override {}
  void OnSecured(Status status) override {
    secured = status.has_value();
    if (!secured) failure = std::move(status).error();
    failed = !secured;
  }
  void OnRead(std::string_view bytes) override {
    received += bytes;
    if (on_read) on_read();
  }
  void OnEof() override { eof = true; }
  void OnStreamError(int error_number) override {
    error = error_number;
    stream.Close();
  }
  void OnBlocked() override {}
  void OnWritable() override {}
  void OnClosed() override {}

  bool over() const { return secured || failed || error != 0; }

  Stream stream;
  std::function<void()> on_read;
  std::string received;
  Error failure;
  bool secured = false;
  bool failed = false;
  bool eof = false;
  int error = 0;
};

class TlsStreamTest : public testing::Test {
 protected:
  TlsStreamTest() : loop_(std::move(*Loop::Make())) {}

  ~TlsStreamTest() override {
    for (auto& end : ends_) end->stream.Close();
    RunUntil([&] {
      return std::all_of(ends_.begin(), ends_.end(),
                         [](const auto& end) { return end->stream.is_closed(); });
    });
  }

  struct Pair {
    End& server;
    End& client;
  };

  Pair Connect(const std::shared_ptr<const TlsServerContext>& server,
               const std::shared_ptr<const TlsClientContext>& client, std::string_view name,
               TlsResumption* resumption = nullptr, bool http2 = false) {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    End& one = Open(fds[0]);
    End& other = Open(fds[1]);
    one.stream.StartTls(std::move(*TlsSession::Accept(server, http2)));
    other.stream.StartTls(std::move(*TlsSession::Connect(client, name, resumption)));
    return {one, other};
  }

  Pair Secure(const std::shared_ptr<const TlsServerContext>& server,
              const std::shared_ptr<const TlsClientContext>& client, std::string_view name,
              TlsResumption* resumption = nullptr) {
    const Pair pair = Connect(server, client, name, resumption);
    RunUntil([&] { return pair.server.over() && pair.client.over(); });
    EXPECT_TRUE(pair.server.secured) << pair.server.failure.detail;
    EXPECT_TRUE(pair.client.secured) << pair.client.failure.detail;
    return pair;
  }

  // A byte each way: what the handshake sends behind its end has arrived then.
  void Exchange(const Pair& pair) {
    Send(pair.client, "?");
    RunUntil([&] { return !pair.server.received.empty(); });
    Send(pair.server, "!");
    RunUntil([&] { return !pair.client.received.empty(); });
  }

  void Send(End& end, std::string_view bytes) {
    end.stream.Send(bytes);
    loop_->FlushDirty();
  }

  // A server that a test talks to by the descriptor that is returned.
  std::pair<End*, int> Listen(const std::shared_ptr<const TlsServerContext>& server) {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    End& end = Open(fds[0]);
    end.stream.StartTls(std::move(*TlsSession::Accept(server, false)));
    return {&end, fds[1]};
  }

  End& Open(int fd) {
    ends_.push_back(std::make_unique<End>(*loop_));
    EXPECT_TRUE(ends_.back()->stream.Accept(fd).has_value());
    return *ends_.back();
  }

  void RunUntil(const std::function<bool()>& done) { ASSERT_TRUE(sluice::RunUntil(*loop_, done)); }

  std::unique_ptr<Loop> loop_;
  std::vector<std::unique_ptr<End>> ends_;
};

std::string Pattern(size_t size) {
  std::string out(size, '\0');
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<char>('a' + i * 31 % 97 % 26);
  return out;
}

TEST_F(TlsStreamTest, CarriesDataBothWays) {
  const Pair pair = Secure(Server(TwoHosts()), Client(), "a.test");
  Send(pair.client, "request");
  RunUntil([&] { return pair.server.received == "request"; });
  Send(pair.server, "response");
  RunUntil([&] { return pair.client.received == "response"; });
  EXPECT_EQ(pair.server.stream.bytes_received(), 7u);
  const TlsSession& tls = *pair.server.stream.tls();
  EXPECT_EQ(tls.protocol(), "TLSv1.3");
  EXPECT_EQ(tls.cipher(), "TLS_AES_128_GCM_SHA256");
  EXPECT_EQ(tls.server_name(), "a.test");
  EXPECT_EQ(tls.alpn(), "http/1.1");
  EXPECT_FALSE(tls.is_resumed());
  EXPECT_FALSE(tls.has_verified_peer());
  EXPECT_TRUE(pair.client.stream.tls()->has_verified_peer());
  EXPECT_EQ(pair.client.stream.tls()->peer_subject(), "CN=a");
}

TEST_F(TlsStreamTest, CarriesMoreThanTheSocketHolds) {
  const Pair pair = Secure(Server(TwoHosts()), Client(), "a.test");
  const std::string body = Pattern(5'000'000);
  Send(pair.server, body);
  EXPECT_GT(pair.server.stream.unsent(), Stream::kHighWatermark);
  RunUntil([&] { return pair.client.received.size() >= body.size(); });
  EXPECT_TRUE(pair.client.received == body);
  EXPECT_EQ(pair.server.stream.unsent(), 0u);
}

TEST_F(TlsStreamTest, KeepsTheOrderOfPiecesOfAllSizes) {
  const Pair pair = Secure(Server(TwoHosts()), Client(), "a.test");
  const std::string text = Pattern(300'000);
  std::string_view rest = text;
  for (const size_t size : {1, 16383, 16384, 16385, 2, 40'000, 16384, 3, 100'000, 0, 5}) {
    pair.client.stream.Send(rest.substr(0, size));
    rest.remove_prefix(size);
  }
  pair.client.stream.Send(rest);
  loop_->FlushDirty();
  RunUntil([&] { return pair.server.received.size() >= text.size(); });
  EXPECT_TRUE(pair.server.received == text);
}

TEST_F(TlsStreamTest, MakesOneRecordOfTheSmallPiecesOfOneTurn) {
  const Pair pair = Secure(Server(TwoHosts()), Client(), "a.test");
  Exchange(pair);
  const uint64_t before = pair.client.stream.bytes_sent();
  pair.client.stream.Send("GET / HTTP/1.1\r\n");
  loop_->KeepSmall();
  pair.client.stream.Send("\r\n");
  pair.client.stream.Send("body");
  loop_->FlushDirty();
  // A record of AES-GCM adds 5 bytes of head, 1 of type and 16 of authentication.
  EXPECT_EQ(pair.client.stream.bytes_sent() - before, 22u + 22u);
  RunUntil([&] { return pair.server.received == "?GET / HTTP/1.1\r\n\r\nbody"; });
}

TEST_F(TlsStreamTest, ChoosesHttp2OnlyWhereItIsServed) {
  TlsClientConfig config;
  config.trust = Trust();
  config.http2 = true;
  const auto client = std::move(*TlsClientContext::Make(std::move(config)));
  const auto server = Server(TwoHosts());
  for (const bool http2 : {true, false}) {
    const Pair pair = Connect(server, client, "a.test", nullptr, http2);
    RunUntil([&] { return pair.server.over() && pair.client.over(); });
    EXPECT_EQ(pair.server.stream.tls()->alpn(), http2 ? "h2" : "");
    EXPECT_EQ(pair.client.stream.tls()->alpn(), http2 ? "h2" : "");
  }
}

TEST_F(TlsStreamTest, ShowsTheCertificateThatTheClientNames) {
  const auto server = Server(TwoHosts());
  EXPECT_EQ(Secure(server, Client(), "b.test").client.stream.tls()->peer_subject(), "CN=b");
  EXPECT_EQ(Secure(server, Client(), "X.Wild.TEST").client.stream.tls()->peer_subject(), "CN=a");
  EXPECT_EQ(Secure(server, Client(nullptr), "c.test").client.stream.tls()->peer_subject(), "CN=a");
  EXPECT_EQ(Secure(server, Client(nullptr), "").client.stream.tls()->peer_subject(), "CN=a");
}

TEST_F(TlsStreamTest, RejectsUnknownNamesWhereAsked) {
  Hosts config = TwoHosts();
  config.reject_unknown = true;
  const auto server = Server(std::move(config));
  for (const std::string_view name : {"c.test", ""}) {
    const Pair pair = Connect(server, Client(nullptr), name);
    RunUntil([&] { return pair.server.over() && pair.client.over(); });
    EXPECT_TRUE(pair.server.failed);
    EXPECT_THAT(pair.client.failure.detail, HasSubstr("unrecognized name"));
  }
}

TEST_F(TlsStreamTest, PrefersEcdsaAndHasRsaForThoseWithoutIt) {
  Hosts config = TwoHosts();
  config.identities[0].certificates.push_back(Certificate("rsa"));
  const auto server = Server(std::move(config));
  EXPECT_EQ(Secure(server, Client(), "a.test").client.stream.tls()->peer_subject(), "CN=a");
  TlsClientConfig old;
  old.trust = Trust();
  old.ciphers = "ECDHE-RSA-AES128-GCM-SHA256";
  Hosts tls12 = TwoHosts();
  tls12.identities[0].certificates.push_back(Certificate("rsa"));
  tls12.identities[0].tls13 = false;
  const auto client = std::move(*TlsClientContext::Make(std::move(old)));
  EXPECT_EQ(Secure(Server(std::move(tls12)), client, "a.test").client.stream.tls()->peer_subject(),
            "CN=rsa");
}

TEST_F(TlsStreamTest, ClientRefusesTheWrongCertificate) {
  const auto server = Server(TwoHosts());
  struct Case {
    std::string name;
    std::shared_ptr<const TlsTrust> trust;
    std::string reason;
  };
  const auto stranger = std::move(*TlsTrust::FromPem(Certificates().Read("client.pem")));
  for (const Case& one :
       {Case{"c.test", Trust(), "hostname mismatch"}, Case{"127.0.0.2", Trust(), "IP address"},
        Case{"a.test", stranger, "unable to get local issuer"}}) {
    const Pair pair = Connect(server, Client(one.trust), one.name);
    RunUntil([&] { return pair.server.over() && pair.client.over(); });
    EXPECT_TRUE(pair.client.failed) << one.name;
    EXPECT_EQ(pair.client.failure.code, ErrorCode::kUpstreamTlsFailed);
    EXPECT_THAT(pair.client.failure.detail, HasSubstr(one.reason));
  }
}

TEST_F(TlsStreamTest, ClientChecksAddresses) {
  Hosts config = TwoHosts();
  config.default_id = "b";
  const Pair pair = Secure(Server(std::move(config)), Client(), "127.0.0.1");
  EXPECT_EQ(pair.server.stream.tls()->server_name(), "");
}

TEST_F(TlsStreamTest, ClientRefusesAnExpiredCertificate) {
  Hosts config;
  config.identities.push_back(Identity("old", {"old.test"}));
  const Pair pair = Connect(Server(std::move(config)), Client(), "old.test");
  RunUntil([&] { return pair.client.over(); });
  EXPECT_THAT(pair.client.failure.detail, HasSubstr("certificate has expired"));
}

Hosts WithClients(bool optional) {
  Hosts config = TwoHosts();
  config.identities[1].client = TlsClientVerification{Trust(), 1, optional};
  return config;
}

TEST_F(TlsStreamTest, AsksClientsForTheirCertificate) {
  const auto server = Server(WithClients(false));
  const Pair good = Secure(server, Client(Trust(), "client"), "b.test");
  EXPECT_TRUE(good.server.stream.tls()->has_verified_peer());
  EXPECT_EQ(good.server.stream.tls()->peer_subject(), "CN=client");
  EXPECT_FALSE(
      Secure(server, Client(Trust(), "client"), "a.test").server.stream.tls()->has_verified_peer());
  const Pair bad = Connect(server, Client(), "b.test");
  RunUntil([&] { return bad.server.over(); });
  EXPECT_TRUE(bad.server.failed);
  EXPECT_EQ(bad.server.failure.code, ErrorCode::kTlsFailed);
  EXPECT_THAT(bad.server.failure.detail, HasSubstr("peer did not return a certificate"));
}

TEST_F(TlsStreamTest, LetsClientsThroughWhoseCertificateIsOptional) {
  const auto server = Server(WithClients(true));
  EXPECT_FALSE(Secure(server, Client(), "b.test").server.stream.tls()->has_verified_peer());
  EXPECT_TRUE(
      Secure(server, Client(Trust(), "client"), "b.test").server.stream.tls()->has_verified_peer());
  // Expired: it arrives, and is not believed.
  EXPECT_FALSE(
      Secure(server, Client(Trust(), "old"), "b.test").server.stream.tls()->has_verified_peer());
}

TEST_F(TlsStreamTest, SaysWhichHostsItMayServe) {
  const auto now = Server(WithClients(false));
  const Pair plain = Secure(now, Client(), "a.test");
  const TlsSession& a = *plain.server.stream.tls();
  EXPECT_TRUE(a.MayServe("a.test", *now));
  EXPECT_TRUE(a.MayServe("y.wild.test", *now));
  EXPECT_FALSE(a.MayServe("b.test", *now));
  EXPECT_FALSE(a.MayServe("c.test", *now));
  const Pair mutual = Secure(now, Client(Trust(), "client"), "b.test");
  EXPECT_TRUE(mutual.server.stream.tls()->MayServe("b.test", *now));
  EXPECT_FALSE(mutual.server.stream.tls()->MayServe("a.test", *now));
  // Who named nobody may ask for any host, but for one that wants certificates.
  const Pair unnamed = Secure(now, Client(nullptr), "");
  EXPECT_TRUE(unnamed.server.stream.tls()->MayServe("a.test", *now));
  EXPECT_TRUE(unnamed.server.stream.tls()->MayServe("c.test", *now));
  EXPECT_FALSE(unnamed.server.stream.tls()->MayServe("b.test", *now));
  // A reload that begins to demand certificates holds for older connections too.
  const Pair early = Secure(Server(TwoHosts()), Client(), "b.test");
  EXPECT_FALSE(early.server.stream.tls()->MayServe("b.test", *now));
}

// Sessions

class TlsResumptionTest : public TlsStreamTest, public testing::WithParamInterface<bool> {
 protected:
  // Of a host of one protocol version.
  static Hosts Config() {
    Hosts config = TwoHosts();
    for (TlsIdentityConfig& identity : config.identities) identity.tls13 = GetParam();
    return config;
  }
};
INSTANTIATE_TEST_SUITE_P(Versions, TlsResumptionTest, testing::Bool(),
                         [](const auto& version) { return version.param ? "Tls13" : "Tls12"; });

TEST_P(TlsResumptionTest, ResumesAtAnotherServerWithTheSameKeys) {
  const auto client = Client();
  TlsResumption sessions;
  const Pair first = Secure(Server(Config()), client, "a.test", &sessions);
  Exchange(first);
  EXPECT_FALSE(first.server.stream.tls()->is_resumed());
  for (int i = 0; i < 3; ++i) {
    const Pair again = Secure(Server(Config()), client, "a.test", &sessions);
    Exchange(again);
    EXPECT_TRUE(again.server.stream.tls()->is_resumed());
    EXPECT_TRUE(again.client.stream.tls()->has_verified_peer());
  }
}

TEST_P(TlsResumptionTest, GoesOnAfterADroppedConnection) {
  const auto server = Server(Config());
  const auto client = Client();
  TlsResumption sessions;
  const Pair first = Secure(server, client, "a.test", &sessions);
  Exchange(first);
  first.client.stream.Close();
  RunUntil([&] { return first.client.stream.is_closed() && first.server.eof; });
  EXPECT_TRUE(Secure(server, client, "a.test", &sessions).server.stream.tls()->is_resumed());
}

TEST_P(TlsResumptionTest, SurvivesOneRotationOfKeysAndNotTwo) {
  const auto keys = std::move(*TicketKeys::Make());
  const auto server = std::move(*MakeServer(Config(), keys));
  const auto client = Client();
  TlsResumption sessions;
  Exchange(Secure(server, client, "a.test", &sessions));
  ASSERT_TRUE(keys->Rotate().has_value());
  const Pair second = Secure(server, client, "a.test", &sessions);
  Exchange(second);
  EXPECT_TRUE(second.server.stream.tls()->is_resumed());
  // The renewed ticket is of the new key.
  ASSERT_TRUE(keys->Rotate().has_value());
  EXPECT_TRUE(Secure(server, client, "a.test", &sessions).server.stream.tls()->is_resumed());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(keys->Rotate().has_value());
  EXPECT_FALSE(Secure(server, client, "a.test", &sessions).server.stream.tls()->is_resumed());
}

TEST_P(TlsResumptionTest, DoesNotResumeWithOtherClientSettings) {
  const auto server = Server(Config());
  TlsResumption sessions;
  Exchange(Secure(server, Client(nullptr), "a.test", &sessions));
  EXPECT_FALSE(Secure(server, Client(), "a.test", &sessions).client.stream.tls()->is_resumed());
}

// CVE-2025-23419: the ticket of a host that asks for nothing must not open another one.
TEST_P(TlsResumptionTest, KeepsTheTicketsOfHostsApart) {
  Hosts config = Config();
  config.identities[1].client = TlsClientVerification{Trust(), 1, true};
  const auto server = Server(std::move(config));
  const auto client = Client(nullptr);
  TlsResumption sessions;
  Exchange(Secure(server, client, "a.test", &sessions));
  // Puts the session of a.test under the name of b.test.
  ssl_session_st* session = sessions.Find(*client, "a.test");
  ASSERT_NE(session, nullptr);
  TlsResumption swapped;
  ASSERT_EQ(SSL_SESSION_up_ref(session), 1);
  SslSessionPtr stolen(session);
  swapped.Store(client, "b.test", std::move(stolen));
  const Pair pair = Secure(server, client, "b.test", &swapped);
  EXPECT_FALSE(pair.server.stream.tls()->is_resumed());
  EXPECT_FALSE(pair.server.stream.tls()->has_verified_peer());
}

// Ends

TEST_F(TlsStreamTest, TellsAnEndFromATruncation) {
  const auto server = Server(TwoHosts());
  const Pair whole = Secure(server, Client(), "a.test");
  whole.server.stream.Send("all");
  whole.server.stream.CloseAfterFlush();
  loop_->FlushDirty();
  RunUntil([&] { return whole.client.eof; });
  EXPECT_EQ(whole.client.received, "all");
  EXPECT_FALSE(whole.client.stream.is_truncated());
  const Pair cut = Secure(server, Client(), "a.test");
  Send(cut.server, "half");
  cut.server.stream.Close();
  RunUntil([&] { return cut.client.eof; });
  EXPECT_EQ(cut.client.received, "half");
  EXPECT_TRUE(cut.client.stream.is_truncated());
}

TEST_F(TlsStreamTest, TellsOfItsEndAtOnceOnlyWhenAllWasSent) {
  const auto server = Server(TwoHosts());
  struct Case {
    std::string_view unsent;
    bool omit;
    bool truncated;
  };
  for (const Case& one :
       {Case{"", false, false}, Case{"lost", false, true}, Case{"", true, true}}) {
    const Pair pair = Secure(server, Client(), "a.test");
    Send(pair.server, "sent");
    if (!one.unsent.empty()) pair.server.stream.Send(one.unsent);
    if (one.omit) pair.server.stream.OmitTlsEnd();
    pair.server.stream.SendTlsEnd();
    pair.server.stream.Close();
    RunUntil([&] { return pair.client.eof; });
    EXPECT_EQ(pair.client.received, "sent");
    EXPECT_EQ(pair.client.stream.is_truncated(), one.truncated);
  }
  // Before the handshake is over, there is nothing to end.
  const auto [early, peer] = Listen(server);
  early->stream.SendTlsEnd();
  early->stream.Close();
  char byte = 0;
  RunUntil([&, end = early] { return end->stream.is_closed(); });
  EXPECT_EQ(read(peer, &byte, 1), 0);
  close(peer);
}

TEST_F(TlsStreamTest, ReadsOnAfterItsOwnEnd) {
  const Pair pair = Secure(Server(TwoHosts()), Client(), "a.test");
  pair.client.stream.Send("last request");
  pair.client.stream.ShutdownWrite();
  loop_->FlushDirty();
  RunUntil([&] { return pair.server.eof; });
  EXPECT_EQ(pair.server.received, "last request");
  EXPECT_FALSE(pair.server.stream.is_truncated());
  Send(pair.server, "response");
  RunUntil([&] { return pair.client.received == "response"; });
}

TEST_F(TlsStreamTest, KeepsTheEndUntilItIsReadOn) {
  const Pair pair = Secure(Server(TwoHosts()), Client(), "a.test");
  pair.server.stream.PauseReading();
  pair.client.stream.Send("request");
  pair.client.stream.CloseAfterFlush();
  loop_->FlushDirty();
  RunUntil([&] { return pair.client.stream.is_closed(); });
  EXPECT_EQ(pair.server.received, "");
  EXPECT_FALSE(pair.server.eof);
  pair.server.stream.ResumeReading();
  RunUntil([&] { return pair.server.eof; });
  EXPECT_EQ(pair.server.received, "request");
  EXPECT_FALSE(pair.server.stream.is_truncated());
}

// What clients send

TEST_F(TlsStreamTest, TakesBytesThatCameBefore) {
  const auto [probe, probe_fd] = Listen(Server(TwoHosts()));
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
  End& client = Open(fds[0]);
  client.stream.StartTls(std::move(*TlsSession::Connect(Client(), "a.test", nullptr)));
  std::string hello(4096, '\0');
  RunUntil([&] { return recv(fds[1], hello.data(), hello.size(), MSG_PEEK) > 0; });
  hello.resize(static_cast<size_t>(read(fds[1], hello.data(), hello.size())));
  End& server = Open(fds[1]);
  server.stream.StartTls(std::move(*TlsSession::Accept(Server(TwoHosts()), false)), hello);
  RunUntil([&] { return server.over() && client.over(); });
  EXPECT_TRUE(server.secured && client.secured);
  static_cast<void>(probe);
  close(probe_fd);
}

TEST_F(TlsStreamTest, SaysThatPlainTextCame) {
  const auto [server, peer] = Listen(Server(TwoHosts()));
  ASSERT_EQ(write(peer, "GET / HTTP/1.1\r\n\r\n", 18), 18);
  RunUntil([&] { return server->over(); });
  EXPECT_EQ(server->failure.code, ErrorCode::kPlainHttp);
  Send(*server, "HTTP/1.1 400 Bad Request\r\n\r\n");
  char answer[64];
  EXPECT_EQ(read(peer, answer, sizeof(answer)), 28);
  close(peer);
}

TEST_F(TlsStreamTest, RefusesWhatIsNoTls) {
  const auto [server, peer] = Listen(Server(TwoHosts()));
  ASSERT_EQ(write(peer, "\x16\x03\x01\xff\xff nonsense", 14), 14);
  RunUntil([&] { return server->over(); });
  EXPECT_EQ(server->failure.code, ErrorCode::kTlsFailed);
  close(peer);
}

TEST_F(TlsStreamTest, TellsThatTheHandshakeWasGivenUp) {
  const auto [server, peer] = Listen(Server(TwoHosts()));
  close(peer);
  RunUntil([&] { return server->over(); });
  EXPECT_THAT(server->failure.detail, HasSubstr("the connection was closed"));
}

TEST_F(TlsStreamTest, EndsAtABrokenRecord) {
  const Pair pair = Secure(Server(TwoHosts()), Client(), "a.test");
  const char record[] = "\x17\x03\x03\x00\x20 this is not what was agreed on..";
  ASSERT_EQ(write(pair.client.stream.fd(), record, 37), 37);
  RunUntil([&] { return pair.server.error != 0; });
  EXPECT_EQ(pair.server.error, EPROTO);
  EXPECT_THAT(pair.server.stream.tls()->error().detail, HasSubstr("TLS: "));
}

// A client of OpenSSL's own, in a thread: does `talk` after the handshake.
std::thread OtherClient(int fd, std::function<void(SSL*)> talk) {
  return std::thread([fd, talk = std::move(talk)] {
    SSL_CTX* context = SSL_CTX_new(TLS_client_method());
    SSL* ssl = SSL_new(context);
    fcntl(fd, F_SETFL, 0);  // blocking
    SSL_set_fd(ssl, fd);
    EXPECT_EQ(SSL_connect(ssl), 1);
    talk(ssl);
    SSL_free(ssl);
    SSL_CTX_free(context);
    close(fd);
  });
}

TEST_F(TlsStreamTest, EndsAFloodOfKeyUpdates) {
  signal(SIGPIPE, SIG_IGN);
  const auto [server, peer] = Listen(Server(TwoHosts()));
  std::thread client = OtherClient(peer, [](SSL* ssl) {
    for (int i = 0; i < 100 && SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1; ++i) {
      if (SSL_do_handshake(ssl) != 1) break;
    }
    char byte = 0;
    EXPECT_LE(SSL_read(ssl, &byte, 1), 0);  // stays until it is turned away
  });
  RunUntil([&, end = server] { return end->error != 0; });
  client.join();
  EXPECT_EQ(server->error, EPROTO);
  EXPECT_THAT(server->stream.tls()->error().detail, HasSubstr("too many records without data"));
}

TEST_F(TlsStreamTest, TakesKeyUpdatesBetweenData) {
  const auto [server, peer] = Listen(Server(TwoHosts()));
  std::promise<void> taken;
  std::thread client = OtherClient(peer, [&taken](SSL* ssl) {
    for (int i = 0; i < 100; ++i) {
      EXPECT_EQ(SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
      EXPECT_EQ(SSL_write(ssl, "x", 1), 1);
    }
    SSL_shutdown(ssl);
    // Closed with a ticket unread, the socket would reset the connection and what is on its way.
    taken.get_future().wait();
  });
  RunUntil([&, end = server] { return end->eof; });
  taken.set_value();
  client.join();
  EXPECT_EQ(server->received, std::string(100, 'x'));
}

TEST_F(TlsStreamTest, ManyHandshakesLeaveEstablishedConnectionsTheirTurns) {
  constexpr size_t kMany = 100;
  const auto server = Server(TwoHosts());
  const auto client = Client();
  const Pair busy = Secure(server, client, "a.test");
  std::deque<Pair> pairs;
  for (size_t i = 0; i < kMany; ++i) pairs.push_back(Connect(server, client, "a.test"));
  const auto secured = [&] {
    return static_cast<size_t>(std::count_if(pairs.begin(), pairs.end(),
                                             [](const Pair& pair) { return pair.server.secured; }));
  };
  size_t before = 0;
  size_t most = 0;  // handshakes that ended during one exchange of the established connection
  busy.server.on_read = [&] { busy.server.stream.Send("!"); };
  busy.client.on_read = [&] {
    most = std::max(most, secured() - before);
    before = secured();
    if (before < kMany) busy.client.stream.Send("?");
  };
  Send(busy.client, "?");
  RunUntil([&] { return secured() == kMany; });
  EXPECT_LE(most, 16u);
  EXPECT_GE(busy.client.received.size(), kMany / 16);
}

TEST_F(TlsStreamTest, ManyHandshakesAtOnceAllCome) {
  const auto server = Server(TwoHosts());
  const auto client = Client();
  std::deque<Pair> pairs;
  for (int i = 0; i < 40; ++i) pairs.push_back(Connect(server, client, "a.test"));
  RunUntil([&] {
    return std::all_of(pairs.begin(), pairs.end(),
                       [](const Pair& pair) { return pair.server.secured && pair.client.secured; });
  });
}

}  // namespace
}  // namespace sluice
