#include "gateway/control/process_settings.h"

#include <filesystem>
#include <optional>

#include "gateway/control/messages.h"

namespace sluice {
namespace {

constexpr uint64_t kMaxListeners = 1024;

// Was the setting written down, or is it the default?
bool IsSet(const conf::Config& config, std::string_view key, std::string_view inner = {}) {
  const conf::Node* gateway = config.document.Find("gateway");
  const conf::Node* node = gateway == nullptr ? nullptr : gateway->Find(key);
  if (node != nullptr && !inner.empty() && node->is_map()) node = node->Find(inner);
  return node != nullptr && node->kind != conf::Node::Kind::kNull;
}

std::string Resolve(const std::string& path, const PathOrigin& origin) {
  if (path.starts_with('/')) return path;
  std::error_code error;
  const auto base = origin.prefix.empty() ? std::filesystem::current_path(error)
                                          : std::filesystem::path(origin.prefix);
  return (base / path).lexically_normal().string();
}

std::string AddressOf(const SocketAddress& address, const PathOrigin& origin) {
  return address.is_unix() ? "unix:" + Resolve(std::string(address.path()), origin)
                           : address.ToString();
}

bool IsStandardStream(std::string_view path) { return path == "stderr" || path == "stdout"; }

}  // namespace

ProcessSettings ProcessSettings::Make(const conf::Config& config, const PathOrigin& origin) {
  const conf::GatewayConfig& gateway = config.gateway;
  const bool moved = !origin.prefix.empty();
  const auto place = [&](const std::string& value, std::string_view key, const char* below_prefix) {
    return moved && !IsSet(config, key) ? origin.prefix + below_prefix : Resolve(value, origin);
  };
  ProcessSettings settings;
  settings.workers = gateway.workers;
  settings.user = gateway.user;
  for (const conf::ListenConfig& listen : gateway.listen) {
    settings.listen.push_back(
        {AddressOf(listen.address, origin), listen.backlog, listen.address.ToString()});
  }
  settings.pid = place(gateway.pid, "pid", "/run/sluice.pid");
  settings.control = place(gateway.control, "control", "/run/control.sock");
  settings.state_dir = place(gateway.state_dir, "state_dir", "/state");
  const std::string log_directory = moved ? origin.prefix + "/logs" : "/var/log/sluice";
  if (gateway.access_log.enabled) {
    const std::string& path = gateway.access_log.path;
    settings.access_log = !IsSet(config, "access_log", "path") ? log_directory + "/access.log"
                          : IsStandardStream(path)             ? path
                                                               : Resolve(path, origin);
  }
  settings.error_log = gateway.error_log.path;
  if (!IsStandardStream(settings.error_log)) {
    settings.error_log = Resolve(settings.error_log, origin);
  } else if (origin.daemon) {
    settings.error_log = log_directory + "/error.log";
  }
  if (gateway.metrics.enabled) settings.metrics = AddressOf(gateway.metrics.address, origin);
  settings.log_level = gateway.error_log.level;
  settings.shutdown = gateway.timeouts.shutdown;
  settings.worker_connections = gateway.limits.worker_connections;
  settings.limit_keys = gateway.limits.limit_keys;
  settings.ticket_rotation = gateway.tls.ticket_rotation;
  return settings;
}

std::string ProcessSettings::Pack() const {
  MessageWriter writer;
  writer.Number(static_cast<uint64_t>(workers)).Text(user).Number(listen.size());
  for (const ListenSettings& one : listen) {
    writer.Text(one.address).Number(static_cast<uint64_t>(one.backlog)).Text(one.configured);
  }
  writer.Text(control).Text(state_dir).Text(pid).Text(access_log).Text(error_log);
  writer.Text(metrics);
  writer.Number(static_cast<uint64_t>(log_level));
  writer.Number(static_cast<uint64_t>(shutdown.count())).Number(worker_connections);
  writer.Number(static_cast<uint64_t>(ticket_rotation.count())).Number(limit_keys);
  return writer.Take();
}

Result<ProcessSettings> ProcessSettings::Unpack(std::string_view packed) {
  MessageReader reader(packed);
  ProcessSettings settings;
  settings.workers = static_cast<int>(reader.Number(1'000'000));
  settings.user = reader.Text();
  const uint64_t listeners = reader.Number(kMaxListeners);
  for (uint64_t i = 0; i < listeners && reader.ok(); ++i) {
    ListenSettings one;
    one.address = reader.Text();
    one.backlog = static_cast<int>(reader.Number(INT32_MAX));
    one.configured = reader.Text();
    settings.listen.push_back(std::move(one));
  }
  settings.control = reader.Text();
  settings.state_dir = reader.Text();
  settings.pid = reader.Text();
  settings.access_log = reader.Text();
  settings.error_log = reader.Text();
  settings.metrics = reader.Text();
  settings.log_level = static_cast<LogLevel>(reader.Number(static_cast<uint64_t>(LogLevel::kOff)));
  settings.shutdown = Duration(static_cast<int64_t>(reader.Number(INT64_MAX)));
  settings.worker_connections = static_cast<uint32_t>(reader.Number(UINT32_MAX));
  settings.ticket_rotation = Duration(static_cast<int64_t>(reader.Number(INT64_MAX)));
  settings.limit_keys = reader.Number();
  SLUICE_TRY(reader.Finish("process settings"));
  return settings;
}

std::vector<std::string_view> RestartNeeded(const ProcessSettings& now,
                                            const ProcessSettings& next) {
  std::vector<std::string_view> keys;
  if (now.workers != next.workers) keys.push_back("workers");
  if (now.user != next.user) keys.push_back("user");
  if (now.control != next.control) keys.push_back("control");
  if (now.state_dir != next.state_dir) keys.push_back("state_dir");
  if (now.pid != next.pid) keys.push_back("pid");
  if (now.limit_keys != next.limit_keys) keys.push_back("limits.limit_keys");
  return keys;
}

}  // namespace sluice
