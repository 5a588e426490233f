#include "gateway/control/options.h"

#include <filesystem>
#include <vector>

#include <CLI/CLI.hpp>

#include "gateway/base/text.h"
#include "gateway/control/console.h"

namespace sluice {
namespace {

constexpr const char* kFooter = R"(
nginx's short forms:
  sluice -t [-c FILE]            check
  sluice -s reload|reopen        signal HUP or USR1
  sluice -s quit|stop            drain without a limit, or end at once
  sluice -v | -V                 version, with the libraries

Files:
  Without -p the configuration is /etc/sluice/sluice.yaml and run-time files lie below /run/sluice,
  /var/lib/sluice and /var/log/sluice. With -p DIR the configuration is DIR/conf/sluice.yaml, relative
  paths of the gateway section begin at DIR, and what it does not name lies in DIR/run/sluice.pid,
  DIR/run/control.sock, DIR/state and DIR/logs/access.log: nothing needs root then.
  With --daemon an error log on stderr goes to error.log beside the default access log.

Signals to the master process:
  TERM, INT  drain for timeouts.shutdown, then end; a second one ends at once
  QUIT       drain without a limit          HUP   reload
  USR1       reopen the logs

Exit codes: 0 ok, 1 bad configuration or failed start, 2 usage.
)";

// What CLI11 fills in before it is checked and turned into Options.
struct Raw {
  std::string config;
  std::string prefix;
  bool test = false;
  std::string signal;
  bool version = false;
  bool version_verbose = false;
  bool json = false;
  bool daemon = false;
  double timeout = 0;
  std::string method;
  std::string url;
  std::vector<std::string> headers;
  std::string client_ip;
  std::string docs;
  std::string listen = "127.0.0.1:1980";
  std::string order;
  std::string upstream;
  std::string node;
};

struct NamedCommand {
  const char* name;
  Command command;
  const char* help;
};

constexpr NamedCommand kCommands[] = {
    {"run", Command::kRun, "Start the gateway in the foreground"},
    {"check", Command::kCheck, "Check the configuration; touches nothing else"},
    {"reload", Command::kReload,
     "Make the running gateway read its configuration; say what changed"},
    {"status", Command::kStatus, "Show upstreams and their nodes as the running gateway sees them"},
    {"node", Command::kNode, "Take a node out of service and put it back; outlives reloads"},
    {"stop", Command::kStop, "Drain the running gateway and wait until it has ended"},
    {"routes", Command::kRoutes, "List the routes of the configuration"},
    {"explain", Command::kExplain, "Show how a request would be routed, and why"},
    {"plugins", Command::kPlugins, "List the plugins with their fields, or write their pages"},
    {"version", Command::kVersion, "Print the version"},
    {"demo-origin", Command::kDemoOrigin, "Run a small echo server to try things with"},
};

std::string Absolute(const std::string& path) {
  std::error_code error;
  const auto absolute = std::filesystem::absolute(path, error);
  std::string text = error ? path : absolute.lexically_normal().string();
  if (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

void Describe(CLI::App& app, Raw& raw) {
  app.fallthrough();  // so that -c and -p may stand behind the command
  app.footer(kFooter);
  app.add_option("-c,--config", raw.config, "The configuration file")->type_name("FILE");
  app.add_option("-p,--prefix", raw.prefix, "Where relative and default paths begin")
      ->type_name("DIR");
  app.add_flag("-t", raw.test, "Check the configuration");
  app.add_option("-s", raw.signal, "Signal the running gateway")
      ->type_name("SIGNAL")
      ->check(CLI::IsMember({"reload", "quit", "stop", "reopen"}));
  app.add_flag("-v", raw.version, "Print the version");
  app.add_flag("-V", raw.version_verbose, "Print the version and the libraries");
  for (const NamedCommand& named : kCommands) {
    CLI::App* sub = app.add_subcommand(named.name, named.help);
    switch (named.command) {
      case Command::kRun:
        sub->add_flag("--daemon", raw.daemon, "Detach once the gateway serves");
        break;
      case Command::kStop:
        sub->add_option("--timeout", raw.timeout, "Seconds to wait for the end")
            ->type_name("SECONDS")
            ->check(CLI::PositiveNumber);
        break;
      case Command::kPlugins:
        sub->add_option("--docs", raw.docs, "Write a page for each plugin there")->type_name("DIR");
        sub->add_flag("--json", raw.json, "Print JSON, with the JSON Schema of each");
        break;
      case Command::kExplain:
        sub->add_option("method", raw.method, "GET, POST, ...")->required();
        sub->add_option("url", raw.url, "https://host/path, or /path with -H 'Host: ...'")
            ->required();
        sub->add_option("-H,--header", raw.headers, "A request header: 'Name: value'")
            ->type_name("HEADER")
            ->allow_extra_args(false);
        sub->add_option("--client-ip", raw.client_ip, "The client's address")->type_name("IP");
        sub->add_flag("--json", raw.json, "Print JSON");
        break;
      case Command::kNode:
        sub->add_option("order", raw.order, "drain or down: nothing new is sent there; up: it is")
            ->required()
            ->check(CLI::IsMember({"drain", "up", "down"}));
        sub->add_option("upstream", raw.upstream, "Its id, name or key")->required();
        sub->add_option("node", raw.node, "Its address and port, as `status` shows it")->required();
        sub->add_flag("--json", raw.json, "Print JSON");
        break;
      case Command::kDemoOrigin:
        sub->add_option("--listen", raw.listen, "Where to listen")
            ->type_name("ADDRESS")
            ->capture_default_str();
        break;
      default:
        sub->add_flag("--json", raw.json, "Print JSON");
    }
  }
}

Result<Command> ChooseCommand(const CLI::App& app, const Raw& raw) {
  std::vector<Command> chosen;
  for (const NamedCommand& named : kCommands) {
    if (app.got_subcommand(named.name)) chosen.push_back(named.command);
  }
  if (raw.test) chosen.push_back(Command::kCheck);
  if (!raw.signal.empty()) chosen.push_back(Command::kSignal);
  if (raw.version || raw.version_verbose) chosen.push_back(Command::kVersion);
  if (chosen.empty()) {
    return GatewayError(ErrorCode::kInvalidConfig, "a command is expected, e.g. `sluice run`");
  }
  if (chosen.size() > 1) {
    return GatewayError(ErrorCode::kInvalidConfig,
                        "one command is expected, but there are " + std::to_string(chosen.size()));
  }
  return chosen.front();
}

Result<Options> MakeOptions(const CLI::App& app, const Raw& raw) {
  Options options;
  SLUICE_ASSIGN_OR_RETURN(options.command, ChooseCommand(app, raw));
  if (!raw.prefix.empty()) options.prefix = Absolute(raw.prefix);
  if (!raw.config.empty()) {
    options.config = Absolute(raw.config);
  } else {
    options.config =
        options.prefix.empty() ? "/etc/sluice/sluice.yaml" : options.prefix + "/conf/sluice.yaml";
  }
  options.json = raw.json;
  options.daemon = raw.daemon;
  options.verbose = raw.version_verbose;
  options.signal = raw.signal;
  options.timeout =
      std::chrono::duration_cast<Duration>(std::chrono::duration<double>(raw.timeout));
  options.docs = raw.docs;
  options.listen = raw.listen;
  options.order = raw.order;
  options.upstream = raw.upstream;
  options.node = raw.node;
  options.explain.method = raw.method;
  options.explain.url = raw.url;
  options.explain.client_ip = raw.client_ip;
  for (const std::string& header : raw.headers) {
    const size_t colon = header.find(':');
    if (colon == std::string::npos || colon == 0) {
      return GatewayError(ErrorCode::kInvalidConfig,
                          "-H expects 'Name: value', but got '" + header + "'");
    }
    options.explain.headers.emplace_back(
        header.substr(0, colon), std::string(TrimOws(std::string_view(header).substr(colon + 1))));
  }
  return options;
}

}  // namespace

ParsedOptions ParseOptions(int argc, const char* const* argv) {
  Raw raw;
  CLI::App app("Sluice, an L7 API gateway", "sluice");
  Describe(app, raw);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return {std::nullopt, code == 0 ? kExitOk : kExitUsage};
  }
  auto options = MakeOptions(app, raw);
  if (!options.has_value()) {
    PrintError(options.error().detail + "\nRun with --help for more information.\n");
    return {std::nullopt, kExitUsage};
  }
  return {std::move(*options), kExitOk};
}

}  // namespace sluice
