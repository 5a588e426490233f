#include "gateway/control/messages.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gateway/control/process_settings.h"

namespace sluice {
namespace {

using testing::HasSubstr;

TEST(MessagesTest, ReadsBackWhatWasWritten) {
  const std::string payload = MessageWriter().Number(7).Text("text").Text("").Take();
  MessageReader reader(payload);
  EXPECT_EQ(reader.Number(), 7u);
  EXPECT_EQ(reader.Text(), "text");
  EXPECT_EQ(reader.Text(), "");
  EXPECT_TRUE(reader.Finish("test").has_value());
}

TEST(MessagesTest, RefusesEveryTruncation) {
  const std::string payload = MessageWriter().Number(7).Text("text").Take();
  for (size_t size = 0; size < payload.size(); ++size) {
    MessageReader reader(std::string_view(payload).substr(0, size));
    reader.Number();
    reader.Text();
    EXPECT_FALSE(reader.Finish("test").has_value()) << size;
  }
}

TEST(MessagesTest, RefusesWhatIsLeftOver) {
  const std::string payload = MessageWriter().Number(7).Number(8).Take();
  MessageReader reader(payload);
  reader.Number();
  EXPECT_FALSE(reader.Finish("test").has_value());
}

TEST(MessagesTest, RefusesANumberAboveItsMaximumAndATextLargerThanThePayload) {
  const std::string payload = MessageWriter().Number(UINT64_MAX).Take();
  MessageReader number(payload);
  EXPECT_EQ(number.Number(10), 0u);
  EXPECT_FALSE(number.ok());
  MessageReader text(payload);
  EXPECT_EQ(text.Text(), "");
  EXPECT_FALSE(text.ok());
}

TEST(MessagesTest, CarriesTheStartOfEachRole) {
  const WorkerStart worker{3, 9, {"www-data", 33, 34}};
  const auto read = WorkerStart::Unpack(worker.Pack());
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->index, 3u);
  EXPECT_EQ(read->revision, 9u);
  EXPECT_EQ(read->account.name, "www-data");
  EXPECT_EQ(read->account.gid, 34u);
  const ControllerStart controller{4, 6, {}, "/etc/x.yaml", "/opt", true};
  const auto other = ControllerStart::Unpack(controller.Pack());
  ASSERT_TRUE(other.has_value());
  EXPECT_EQ(other->next_revision, 6u);
  EXPECT_EQ(other->config_path, "/etc/x.yaml");
  EXPECT_EQ(other->prefix, "/opt");
  EXPECT_TRUE(other->daemon);
  EXPECT_FALSE(ControllerStart::Unpack(worker.Pack()).has_value());
}

TEST(MessagesTest, CarriesProcessSettings) {
  ProcessSettings settings;
  settings.workers = 4;
  settings.listen = {{"127.0.0.1:80", 100, "127.0.0.1:80"}, {"unix:/x", 5, "unix:x"}};
  settings.pid = "/run/x.pid";
  settings.error_log = "stderr";
  settings.log_level = LogLevel::kWarn;
  settings.shutdown = seconds(30);
  const std::string packed = settings.Pack();
  const auto read = ProcessSettings::Unpack(packed);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->listen, settings.listen);
  EXPECT_EQ(read->pid, "/run/x.pid");
  EXPECT_EQ(read->log_level, LogLevel::kWarn);
  EXPECT_EQ(read->shutdown, seconds(30));
  EXPECT_FALSE(ProcessSettings::Unpack(packed.substr(1)).has_value());
}

TEST(MessagesTest, DocumentsCannotBeChanged) {
  const auto document = MakeDocument("content");
  ASSERT_TRUE(document.has_value());
  EXPECT_EQ(pwrite(document->get(), "x", 1, 0), -1);
  EXPECT_EQ(ftruncate(document->get(), 0), -1);
  const auto read = ReadDocument(document->get());
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(*read, "content");
}

TEST(MessagesTest, RefusesADocumentThatCanBeChanged) {
  const UniqueFd open(memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const auto read = ReadDocument(open.get());
  ASSERT_FALSE(read.has_value());
  EXPECT_THAT(read.error().detail, HasSubstr("sealed"));
}

TEST(ProcessSettingsTest, NamesWhatNeedsARestart) {
  ProcessSettings now;
  ProcessSettings next;
  EXPECT_TRUE(RestartNeeded(now, next).empty());
  next.workers = 2;
  next.pid = "/other";
  next.listen = {{"127.0.0.1:80", 100}};
  EXPECT_THAT(RestartNeeded(now, next), testing::ElementsAre("workers", "pid"));
}

}  // namespace
}  // namespace sluice
