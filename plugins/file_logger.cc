#include "plugins/file_logger.h"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "gateway/base/unique_fd.h"
#include "gateway/plugin/registration.h"

namespace sluice::plugins {

SLUICE_PLUGIN(FileLogger);

namespace {

bool IsAbsolutePath(std::string_view path) { return path.starts_with('/'); }

conf::TextLike PathField() { return {"an absolute path", IsAbsolutePath, "^/", {1, 4096}}; }

// Waits for nobody: a pipe that is not read must not hold a pool thread.
Status AppendTo(const std::string& path, std::string_view text) {
  constexpr int kFlags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK;
  const UniqueFd fd(open(path.c_str(), kFlags, 0640));
  if (!fd) return SystemError("open " + path, errno);
  while (!text.empty()) {
    const ssize_t count = write(fd.get(), text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SystemError("write " + path, errno);
    text.remove_prefix(static_cast<size_t>(count));
  }
  return {};
}

class FileBatch final : public LogBatch {
 public:
  FileBatch(std::string name, std::string path)
      : LogBatch(std::move(name), {.inactive = milliseconds(200),
                                   .longest = seconds(1),
                                   .retries = 3,
                                   .most_waiting = 100'000}),
        path_(std::move(path)) {}

 protected:
  void Deliver(PluginServices& services, const Lines& lines, Done done) override {
    auto text = std::make_shared<std::string>();
    for (const std::string& line : lines) text->append(line).push_back('\n');
    auto status = std::make_shared<Status>();
    services.RunOffLoop([text, status, path = path_] { *status = AppendTo(path, *text); },
                        [status, done = std::move(done)] { done(*status); });
  }

 private:
  const std::string path_;
};

}  // namespace

const conf::Fields<FileLogger::Config>& FileLogger::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = [] {
    conf::Fields<T> fields = {
        conf::Declare("path", &T::path, PathField(),
                      "The file, which workers append to as their user; that of the metadata "
                      "without one."),
    };
    AddLoggerFields(fields);
    return fields;
  }();
  return kFields;
}

const conf::Fields<FileLogger::Metadata>& FileLogger::MetadataFields() {
  using T = Metadata;
  static const conf::Fields<T> kFields = [] {
    conf::Fields<T> fields = {
        conf::Declare("path", &T::path, PathField(), "For loggers that have none of their own."),
    };
    AddLoggerMetadataFields(fields);
    return fields;
  }();
  return kFields;
}

std::unique_ptr<const Plugin> FileLogger::Make(Config config, const PluginBuild& build) {
  const Metadata metadata = ReadMetadata<FileLogger>(build);
  if (config.path.empty()) config.path = metadata.path;
  if (config.path.empty()) {
    build.place.Fail("expected \"path\", here or in the plugin's metadata");
    return nullptr;
  }
  auto batch = std::make_shared<FileBatch>(std::string(build.owner) + " file-logger", config.path);
  return std::make_unique<FileLogger>(Logger(config, metadata, build), std::move(batch));
}

Verdict FileLogger::OnHeaderFilter(RequestContext& request, ResponseContext& response) const {
  logger_.Watch(request, response);
  return Verdict::kContinue;
}

void FileLogger::OnBodyFilter(RequestContext& request, BodyPiece& piece) const {
  logger_.Copy(request, piece);
}

void FileLogger::OnLog(RequestContext& request, const AccessRecord& record) const {
  if (!logger_.Wants(request)) return;
  batch_->Add(request.services(), logger_.Line(request, record));
}

}  // namespace sluice::plugins
