#include "gateway/proxy/tls_resources.h"

#include <functional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/net/test_certificates.h"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TestCertificates& Certificates() {
  static TestCertificates certificates;
  static const bool kMade = [] {
    certificates.Issue("a", "DNS:a.test");
    certificates.Issue("b", "DNS:b.test");
    certificates.Issue("old", "DNS:b.test", "ec", "-1");
    return true;
  }();
  static_cast<void>(kMade);
  return certificates;
}

conf::SslConfig Ssl(const std::string& id) {
  conf::SslConfig ssl;
  ssl.id = id;
  ssl.snis = {id + ".test"};
  conf::SslConfig::Pair pair;
  pair.cert.text = Certificates().Read(id + ".pem");
  pair.cert.path = "ssls[" + id + "].cert";
  pair.key.text = Certificates().Read(id + ".key");
  ssl.pairs.push_back(pair);
  return ssl;
}

class TlsResourcesTest : public testing::Test {
 protected:
  TlsResourcesTest() { config_.ssls = {Ssl("a"), Ssl("b")}; }

  std::shared_ptr<const TlsResources> Make(const TlsResources* previous = nullptr) {
    conf::Diagnostics diagnostics;
    auto made = TlsResources::Make(config_, nullptr, previous, diagnostics);
    EXPECT_NE(made, nullptr) << diagnostics.ToText();
    return made;
  }

  conf::Config config_;
};

TEST_F(TlsResourcesTest, KeepsWhatHasNotChanged) {
  const auto first = Make();
  config_.ssls[1] = Ssl("old");
  config_.ssls[1].id = "b";
  config_.ssls[1].snis = {"b.test"};
  const auto second = Make(first.get());
  EXPECT_EQ(second->server()->Find("a.test"), first->server()->Find("a.test"));
  EXPECT_NE(second->server()->Find("b.test"), first->server()->Find("b.test"));
  // What is kept outlives the revision that has made it.
  const TlsIdentity* kept = second->server()->Find("b.test");
  const auto third = Make(second.get());
  EXPECT_EQ(third->server()->Find("b.test"), kept);
}

TEST_F(TlsResourcesTest, RebuildsAfterEachKindOfChange) {
  const std::vector<std::function<void(conf::SslConfig&)>> changes = {
      [](auto& ssl) { ssl.snis.push_back("c.test"); },
      [](auto& ssl) { ssl.protocols.tls12 = false; },
      [](auto& ssl) {
        ssl.protocols = {true, false};
      },
      [](auto& ssl) { ssl.pairs[0].cert.text += Certificates().Read("ca.pem"); },
      [](auto& ssl) {
        ssl.client.emplace();
        ssl.client->ca.text = Certificates().Read("ca.pem");
      },
      [](auto& ssl) { ssl.client->depth = 3; },
      [](auto& ssl) { ssl.client->ca.text += Certificates().Read("a.pem"); },
      [](auto& ssl) {
        ssl.client->skip_mtls_uri_regex.push_back({"^/public/", "", {}});
      },
  };
  auto before = Make();
  for (size_t i = 0; i < changes.size(); ++i) {
    changes[i](config_.ssls[0]);
    const auto after = Make(before.get());
    EXPECT_NE(after->server()->Find("a.test"), before->server()->Find("a.test")) << i;
    EXPECT_EQ(after->server()->Find("b.test"), before->server()->Find("b.test")) << i;
    before = after;
  }
  const TlsIdentity& identity = *before->server()->Find("a.test");
  EXPECT_TRUE(before->SkipsVerification(identity, "/public/1"));
  EXPECT_FALSE(before->SkipsVerification(identity, "/private"));
  config_.gateway.tls.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256";
  EXPECT_NE(Make(before.get())->server()->Find("b.test"), before->server()->Find("b.test"));
}

TEST_F(TlsResourcesTest, WarnsOfWhatItKeepsToo) {
  config_.ssls[1] = Ssl("old");
  const auto first = Make();
  const auto second = Make(first.get());
  EXPECT_EQ(second->server()->Find("old.test"), first->server()->Find("old.test"));
  EXPECT_THAT(second->warnings(),
              ElementsAre(HasSubstr("ssls[old].cert: the certificate expired")));
}

TEST_F(TlsResourcesTest, ADisabledObjectIsForgotten) {
  const auto first = Make();
  config_.ssls[1].enabled = false;
  EXPECT_EQ(Make(first.get())->server()->Find("b.test"), nullptr);
}

}  // namespace
}  // namespace sluice
