#include "gateway/control/commands.h"

#include <string_view>

#include "gateway/base/json_writer.h"
#include "gateway/control/console.h"
#include "gateway/control/demo_origin.h"
#include "gateway/control/explain.h"
#include "gateway/control/master.h"
#include "gateway/control/role.h"
#include "gateway/proxy/tls_resources.h"
#include "gateway/snapshot/snapshot.h"

namespace sluice {
namespace {

struct LoadedFile {
  conf::Diagnostics diagnostics;
  std::shared_ptr<const conf::Config> config;
  std::shared_ptr<const Snapshot> snapshot;  // null: see diagnostics
};

LoadedFile Load(const std::string& path) {
  LoadedFile loaded;
  loaded.config = conf::LoadFile(path, loaded.diagnostics);
  if (loaded.config != nullptr) {
    const auto tls = TlsResources::Make(*loaded.config, nullptr, nullptr, loaded.diagnostics);
    if (tls == nullptr) return loaded;
    loaded.snapshot = Snapshot::Make(loaded.config, 1, loaded.diagnostics);
    for (const std::string& warning : tls->warnings()) PrintError("warning: " + warning + "\n");
  }
  return loaded;
}

// The same words for every command that needs a good configuration.
int PrintDiagnostics(const LoadedFile& loaded, const Options& options) {
  if (options.json) {
    std::string text;
    JsonWriter json(text);
    json.BeginObject().Member("ok", false).Member("file", options.config);
    json.Key("diagnostics").Raw(loaded.diagnostics.ToJson());
    json.Member("total", static_cast<uint64_t>(loaded.diagnostics.total())).EndObject();
    PrintOut(text + "\n");
  } else {
    PrintError(loaded.diagnostics.ToText());
  }
  return kExitFailed;
}

int RunCommand(const Options& options) {
  switch (options.command) {
    case Command::kRun:
      return RunMaster(options);
    case Command::kCheck:
      return RunCheck(options);
    case Command::kReload:
      return RunReload(options);
    case Command::kStatus:
      return RunStatus(options);
    case Command::kNode:
      return RunNode(options);
    case Command::kStop:
      return RunStop(options);
    case Command::kSignal:
      return RunSignal(options);
    case Command::kRoutes:
      return RunRoutes(options);
    case Command::kExplain:
      return RunExplain(options);
    case Command::kPlugins:
      return RunPlugins(options);
    case Command::kVersion:
      return RunVersion(options);
    case Command::kDemoOrigin:
      return RunDemoOrigin(options.listen);
  }
  return kExitUsage;
}

}  // namespace

int RunSluice(int argc, const char* const* argv) {
  // Only master starts us so: it has put a channel at a fixed descriptor.
  if (argc == 3 && std::string_view(argv[1]) == "--role") {
    const std::string_view role = argv[2];
    if (role == "worker") return RunWorker();
    if (role == "controller") return RunController();
  }
  const ParsedOptions parsed = ParseOptions(argc, argv);
  return parsed.options.has_value() ? RunCommand(*parsed.options) : parsed.exit_code;
}

int RunCheck(const Options& options) {
  const LoadedFile loaded = Load(options.config);
  if (loaded.snapshot == nullptr) return PrintDiagnostics(loaded, options);
  const size_t routes = loaded.config->routes.size();
  const size_t upstreams = loaded.config->upstreams.size();
  if (options.json) {
    std::string text;
    JsonWriter json(text);
    json.BeginObject().Member("ok", true).Member("file", options.config);
    json.Member("routes", static_cast<uint64_t>(routes));
    json.Member("upstreams", static_cast<uint64_t>(upstreams));
    json.Key("diagnostics").BeginArray().EndArray().EndObject();
    PrintOut(text + "\n");
  } else {
    PrintOut(options.config + ": ok, " + std::to_string(routes) +
             (routes == 1 ? " route, " : " routes, ") + std::to_string(upstreams) +
             (upstreams == 1 ? " upstream\n" : " upstreams\n"));
  }
  return kExitOk;
}

int RunRoutes(const Options& options) {
  const LoadedFile loaded = Load(options.config);
  if (loaded.snapshot == nullptr) return PrintDiagnostics(loaded, options);
  PrintOut(ListRoutes(*loaded.config, options.json));
  return kExitOk;
}

int RunExplain(const Options& options) {
  const LoadedFile loaded = Load(options.config);
  if (loaded.snapshot == nullptr) return PrintDiagnostics(loaded, options);
  const auto explained = ExplainRequest(*loaded.snapshot, options.explain, options.json);
  if (explained.has_value()) {
    PrintOut(*explained);
    return kExitOk;
  }
  const Error& error = explained.error();
  if (options.json) {
    std::string text;
    JsonWriter json(text);
    json.BeginObject().Member("ok", false).Member("reason", ReasonName(error.code));
    json.Member("error", error.detail).EndObject();
    PrintOut(text + "\n");
  } else {
    PrintError("sluice: " + error.detail + " (" + std::string(ReasonName(error.code)) + ")\n");
  }
  return kExitFailed;
}

}  // namespace sluice
