#include "gateway/control/listener_sockets.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

namespace sluice {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ListenerSocketsTest : public testing::Test {
 protected:
  ListenerSocketsTest() {
    std::string name = (fs::temp_directory_path() / "sluice-listen-XXXXXX").string();
    directory_ = mkdtemp(name.data());
  }
  ~ListenerSocketsTest() override { fs::remove_all(directory_); }

  static bool Connects(const SocketAddress& address) {
    const UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    return connect(fd.get(), address.raw(), address.raw_size()) == 0;
  }
  std::string UnixAddress() const { return "unix:" + directory_ + "/http.sock"; }

  std::string directory_;
};

TEST_F(ListenerSocketsTest, GivesEachSlotASocketOfOnePort) {
  auto sockets = ListenerSockets::Make({"127.0.0.1:0", 16}, 3, false);
  ASSERT_TRUE(sockets.has_value());
  EXPECT_NE(sockets->bound().port(), 0);
  EXPECT_NE(sockets->fd(0), sockets->fd(2));
  int on = 0;
  socklen_t size = sizeof(on);
  ASSERT_EQ(getsockopt(sockets->fd(1), IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
  EXPECT_EQ(on, 1);
  EXPECT_TRUE(Connects(sockets->bound()));
}

TEST_F(ListenerSocketsTest, RefusesAPortThatIsTakenUnlessItIsOurs) {
  auto first = ListenerSockets::Make({"127.0.0.1:0", 16}, 1, false);
  ASSERT_TRUE(first.has_value());
  const ListenSettings same{first->bound().ToString(), 16};
  auto second = ListenerSockets::Make(same, 1, false);
  ASSERT_FALSE(second.has_value());
  EXPECT_THAT(second.error().detail, HasSubstr("Address already in use"));
  EXPECT_THAT(second.error().detail, HasSubstr(same.address));
  EXPECT_TRUE(ListenerSockets::Make(same, 1, true).has_value());
}

TEST_F(ListenerSocketsTest, ReopensASlotOnTheSamePort) {
  auto sockets = ListenerSockets::Make({"127.0.0.1:0", 16}, 2, false);
  ASSERT_TRUE(sockets.has_value());
  sockets->CloseSlot(1);
  EXPECT_EQ(sockets->fd(1), -1);
  ASSERT_TRUE(sockets->ReopenSlot(1).has_value());
  EXPECT_GE(sockets->fd(1), 0);
}

TEST_F(ListenerSocketsTest, SharesAUnixSocketAndRemovesItsFile) {
  auto sockets = ListenerSockets::Make({UnixAddress(), 16}, 2, false);
  ASSERT_TRUE(sockets.has_value());
  EXPECT_EQ(sockets->fd(0), sockets->fd(1));
  EXPECT_TRUE(Connects(sockets->bound()));
  EXPECT_EQ(fs::status(directory_ + "/http.sock").permissions(), fs::perms(0666));
  sockets->Remove();
  EXPECT_TRUE(fs::is_empty(directory_));
}

TEST_F(ListenerSocketsTest, ReplacesASocketFileOnlyWhenNobodyListens) {
  auto first = ListenerSockets::Make({UnixAddress(), 16}, 1, false);
  ASSERT_TRUE(first.has_value());
  EXPECT_FALSE(ListenerSockets::Make({UnixAddress(), 16}, 1, false).has_value());
  EXPECT_TRUE(Connects(first->bound()));
  { const auto dropped = std::move(*first); }  // closes, and leaves the file
  EXPECT_TRUE(ListenerSockets::Make({UnixAddress(), 16}, 1, false).has_value());
}

TEST_F(ListenerSocketsTest, DoesNotTouchAFileThatIsNoSocket) {
  std::ofstream(directory_ + "/http.sock") << "precious";
  const auto sockets = ListenerSockets::Make({UnixAddress(), 16}, 1, false);
  ASSERT_FALSE(sockets.has_value());
  EXPECT_THAT(sockets.error().detail, HasSubstr("not a socket"));
  EXPECT_EQ(fs::file_size(directory_ + "/http.sock"), 8u);
}

}  // namespace
}  // namespace sluice
