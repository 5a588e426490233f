#include "gateway/control/messages.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sluice {
namespace {

constexpr off_t kMaxDocument = 1024L * 1024 * 1024;
constexpr int kSeals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

void PackAccount(MessageWriter& writer, const Account& account) {
  writer.Text(account.name).Number(account.uid).Number(account.gid);
}

Account ReadAccount(MessageReader& reader) {
  Account account;
  account.name = reader.Text();
  account.uid = static_cast<uid_t>(reader.Number(UINT32_MAX));
  account.gid = static_cast<gid_t>(reader.Number(UINT32_MAX));
  return account;
}

}  // namespace

MessageWriter& MessageWriter::Number(uint64_t value) {
  out_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  return *this;
}

MessageWriter& MessageWriter::Text(std::string_view value) {
  Number(value.size());
  out_.append(value);
  return *this;
}

uint64_t MessageReader::Number(uint64_t maximum) {
  uint64_t value = 0;
  if (!ok_ || rest_.size() < sizeof(value)) {
    ok_ = false;
    return 0;
  }
  std::memcpy(&value, rest_.data(), sizeof(value));
  rest_.remove_prefix(sizeof(value));
  if (value > maximum) ok_ = false;
  return ok_ ? value : 0;
}

std::string MessageReader::Text() {
  const uint64_t size = Number(rest_.size());
  if (!ok_ || size > rest_.size()) {
    ok_ = false;
    return {};
  }
  std::string text(rest_.substr(0, size));
  rest_.remove_prefix(size);
  return text;
}

Status MessageReader::Finish(std::string_view what) {
  if (ok_ && rest_.empty()) return {};
  ok_ = false;
  return GatewayError(ErrorCode::kInternal,
                      "a message does not have the layout of: " + std::string(what));
}

std::string WorkerStart::Pack() const {
  MessageWriter writer;
  writer.Number(index).Number(revision);
  PackAccount(writer, account);
  return writer.Number(processes).Number(limit_keys).Take();
}

Result<WorkerStart> WorkerStart::Unpack(std::string_view packed) {
  MessageReader reader(packed);
  WorkerStart start;
  start.index = static_cast<uint32_t>(reader.Number(UINT32_MAX));
  start.revision = reader.Number();
  start.account = ReadAccount(reader);
  start.processes = static_cast<uint32_t>(reader.Number(UINT32_MAX));
  start.limit_keys = reader.Number();
  SLUICE_TRY(reader.Finish("start of a worker"));
  return start;
}

std::string ControllerStart::Pack() const {
  MessageWriter writer;
  writer.Number(revision).Number(next_revision);
  PackAccount(writer, account);
  writer.Text(config_path).Text(prefix).Number(daemon ? 1 : 0);
  return writer.Number(processes).Number(limit_keys).Take();
}

Result<ControllerStart> ControllerStart::Unpack(std::string_view packed) {
  MessageReader reader(packed);
  ControllerStart start;
  start.revision = reader.Number();
  start.next_revision = reader.Number();
  start.account = ReadAccount(reader);
  start.config_path = reader.Text();
  start.prefix = reader.Text();
  start.daemon = reader.Number(1) == 1;
  start.processes = static_cast<uint32_t>(reader.Number(UINT32_MAX));
  start.limit_keys = reader.Number();
  SLUICE_TRY(reader.Finish("start of the controller"));
  return start;
}

Result<UniqueFd> MakeDocument(std::string_view content) {
  UniqueFd fd(memfd_create("sluice-document", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return SystemError("memfd_create", errno);
  size_t written = 0;
  while (written < content.size()) {
    const ssize_t count = write(fd.get(), content.data() + written, content.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SystemError("write a document", errno);
    written += static_cast<size_t>(count);
  }
  if (fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0) return SystemError("seal a document", errno);
  return fd;
}

Result<std::string> ReadDocument(int fd) {
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) {
    return GatewayError(ErrorCode::kInternal, "a document is not a sealed memfd");
  }
  struct stat status {};
  if (fstat(fd, &status) != 0) return SystemError("size of a document", errno);
  if (status.st_size > kMaxDocument) {
    return GatewayError(ErrorCode::kInternal, "a document of " + std::to_string(status.st_size) +
                                                  " bytes is larger than 1 GiB");
  }
  std::string content(static_cast<size_t>(status.st_size), '\0');
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t count =
        pread(fd, content.data() + done, content.size() - done, static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SystemError("read a document", errno);
    if (count == 0) return GatewayError(ErrorCode::kInternal, "a document ended early");
    done += static_cast<size_t>(count);
  }
  return content;
}

}  // namespace sluice
