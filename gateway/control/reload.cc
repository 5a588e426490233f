#include "gateway/control/reload.h"

#include <algorithm>
#include <utility>

#include "gateway/base/json_writer.h"
#include "gateway/base/log.h"
#include "gateway/snapshot/snapshot.h"

namespace sluice {
namespace {

constexpr size_t kLoggedDiagnostics = 10;
constexpr size_t kMaxSettings = 60 * 1024;  // what fits a message

// `key` may be within a section: "limits.limit_keys".
conf::Position SettingPosition(const conf::Config& config, std::string_view key) {
  const conf::Node* found = config.document.Find("gateway");
  if (found == nullptr) return {};
  while (!key.empty()) {
    const size_t dot = std::min(key.find('.'), key.size());
    const conf::Node* const inner = found->Find(key.substr(0, dot));
    if (inner == nullptr) break;
    found = inner;
    key.remove_prefix(std::min(dot + 1, key.size()));
  }
  return found->position;
}

}  // namespace

// What comes of reading the file, made on a pool thread.
struct Reload::Loaded {
  std::string path;
  PathOrigin origin;
  std::shared_ptr<const conf::Config> committed;
  std::shared_ptr<const TlsResources> committed_tls;
  uint64_t revision = 0;

  conf::Diagnostics diagnostics;
  std::shared_ptr<const conf::Config> config;  // null: see diagnostics
  std::shared_ptr<const TlsResources> tls;
  std::string settings;
  UniqueFd document;
  ConfigDiff diff;
  bool unchanged = false;
};

std::string ReloadReport::ToJson() const {
  std::string line;
  JsonWriter json(line);
  json.BeginObject().Member("ok", ok).Member("revision", revision);
  if (ok) {
    json.Member("changed", changed);
    if (since != WallTime()) json.Member("since", FormatIso8601(since));
    json.Member("summary", diff.Summary()).Key("changes").Raw(diff.ToJson());
    json.Member("text", Describe());
  } else {
    json.Key("diagnostics").Raw(diagnostics).Member("text", text);
  }
  json.EndObject();
  return line;
}

std::string ReloadReport::Describe() const {
  const std::string head = "revision " + std::to_string(revision) + ": ";
  if (since == WallTime()) return head + "nothing has changed\n";
  // The watch may have been faster than the one who asks.
  const std::string serving = changed ? "" : "served since " + FormatIso8601(since) + ", ";
  return head + serving + diff.Summary() + "\n" + diff.ToText();
}

void Reload::Asked::Add(std::string_view why, bool silent, Done call) {
  if (reason.find(why) == std::string::npos) {
    if (!reason.empty()) reason += ", ";
    reason += why;
  }
  quietly = quietly && silent;
  if (call) done.push_back(std::move(call));
}

Reload::Reload(Loop& loop, const ControllerStart& start,
               std::shared_ptr<const conf::Config> committed, Observer observer)
    : loop_(loop),
      config_path_(start.config_path),
      origin_{start.prefix, start.daemon},
      observer_(std::move(observer)),
      committed_(std::move(committed)),
      revision_(start.revision),
      next_revision_(start.next_revision) {}

Reload::~Reload() = default;

void Reload::Request(std::string_view reason, bool quietly, Done done) {
  // The file may have changed since a running reload has read it.
  next_.Add(reason, quietly, std::move(done));
  if (phase_ == Phase::kIdle) Begin();
}

void Reload::Begin() {
  phase_ = Phase::kLoading;
  current_ = std::exchange(next_, {});
  retried_ = false;
  announced_ = false;
  if (!current_.quietly) Announce();
  auto loaded = std::make_shared<Loaded>();
  loaded->path = config_path_;
  loaded->origin = origin_;
  loaded->committed = committed_;
  loaded->committed_tls = committed_tls_;
  loaded->revision = next_revision_;
  loaded_ = loaded;
  std::weak_ptr<Loaded> wanted = loaded;
  loop_.RunOffLoop(
      [loaded = std::move(loaded)]() mutable {
        Load(*loaded);
        loaded.reset();
      },
      [this, wanted] {
        if (const auto made = wanted.lock()) OnLoaded(made);
      });
}

void Reload::Announce() {
  if (!std::exchange(announced_, true)) observer_.send(MessageType::kReloading, {}, -1);
}

void Reload::Load(Loaded& loaded) {
  auto config = conf::LoadFile(loaded.path, loaded.diagnostics);
  if (config == nullptr) return;
  const std::string document = conf::ToJson(config->document);
  if (document == conf::ToJson(loaded.committed->document)) {
    loaded.unchanged = true;
    loaded.config = std::move(config);
    return;
  }
  if (Snapshot::Make(config, loaded.revision, loaded.diagnostics) == nullptr) return;
  loaded.tls = TlsResources::Make(*config, nullptr, loaded.committed_tls.get(), loaded.diagnostics);
  if (loaded.tls == nullptr) return;
  const auto settings = ProcessSettings::Make(*config, loaded.origin);
  const auto now = ProcessSettings::Make(*loaded.committed, loaded.origin);
  for (const std::string_view key : RestartNeeded(now, settings)) {
    loaded.diagnostics.Add(SettingPosition(*config, key), "gateway." + std::string(key),
                           "changed, which takes effect only by a restart; expected the value that "
                           "the gateway was started with");
  }
  loaded.settings = settings.Pack();
  if (loaded.settings.size() > kMaxSettings) {
    loaded.diagnostics.Add(SettingPosition(*config, "listen"), "gateway.listen",
                           "more listeners than a reload can hand over");
  }
  auto sealed = MakeDocument(document);
  if (!sealed.has_value()) loaded.diagnostics.Add({}, "", sealed.error().detail);
  if (!loaded.diagnostics.empty()) return;
  loaded.document = std::move(*sealed);
  loaded.diff = ConfigDiff::Between(loaded.committed->document, config->document);
  loaded.config = std::move(config);
}

void Reload::OnLoaded(const std::shared_ptr<Loaded>& loaded) {
  std::vector<std::string> files;
  for (const conf::Source& source : loaded->diagnostics.sources()) files.push_back(source.name);
  files.push_back(config_path_);
  observer_.on_files(files);
  if (loaded->config == nullptr) {
    ReloadReport report{.ok = false, .revision = revision_};
    report.text = loaded->diagnostics.ToText();
    report.diagnostics = loaded->diagnostics.ToJson();
    return Finish(report);
  }
  if (loaded->unchanged) {
    return Finish({.ok = true, .revision = revision_, .since = since_, .diff = last_diff_});
  }
  Announce();
  phase_ = Phase::kPreparing;
  loaded->revision = next_revision_++;
  observer_.send(MessageType::kPrepare,
                 MessageWriter().Number(loaded->revision).Text(loaded->settings).Take(),
                 loaded->document.get());
}

void Reload::OnPrepared(uint64_t revision) {
  if (phase_ != Phase::kPreparing || revision != loaded_->revision) return;
  phase_ = Phase::kCommitting;
  observer_.send(MessageType::kCommit, MessageWriter().Number(revision).Take(), -1);
}

void Reload::OnRefused(uint64_t revision, bool retry, const std::string& text) {
  if (phase_ != Phase::kPreparing || revision != loaded_->revision) return;
  if (retry && !std::exchange(retried_, true)) {
    Log(LogLevel::kWarn, "trying the reload once more", {{"reason", text}});
    loaded_->revision = next_revision_++;
    observer_.send(MessageType::kPrepare,
                   MessageWriter().Number(loaded_->revision).Text(loaded_->settings).Take(),
                   loaded_->document.get());
    return;
  }
  conf::Diagnostics diagnostics;
  diagnostics.Add({}, "", text);
  Finish({.ok = false,
          .revision = revision_,
          .text = "sluice: " + text + "\n",
          .diagnostics = diagnostics.ToJson()});
}

void Reload::OnCommitted(uint64_t revision) {
  if (phase_ != Phase::kCommitting || revision != loaded_->revision) return;
  committed_ = loaded_->config;
  committed_tls_ = loaded_->tls;
  revision_ = revision;
  SetLogLevel(committed_->gateway.error_log.level);
  since_ = WallNow();
  last_diff_ = std::move(loaded_->diff);
  observer_.on_committed(*committed_, *committed_tls_);
  Finish({.ok = true, .revision = revision, .changed = true, .since = since_, .diff = last_diff_});
}

void Reload::Finish(const ReloadReport& report) {
  LogReport(report);
  if (report.changed || !report.ok) observer_.on_result(report.ok);
  if (announced_ || !report.ok) {
    const std::string_view note = report.ok ? "" : "; the last reload was refused";
    observer_.send(MessageType::kReloaded, MessageWriter().Text(note).Take(), -1);
  }
  phase_ = Phase::kIdle;
  loaded_.reset();
  const Asked asked = std::exchange(current_, {});
  for (const Done& done : asked.done) done(report);
  if (!next_.reason.empty()) Begin();
}

void Reload::LogReport(const ReloadReport& report) const {
  if (report.ok) {
    if (report.changed) {
      Log(LogLevel::kInfo, "reloaded",
          {{"revision", report.revision},
           {"why", current_.reason},
           {"changes", report.diff.Summary()}});
    } else {
      Log(current_.quietly ? LogLevel::kDebug : LogLevel::kInfo, "reload: nothing has changed",
          {{"revision", report.revision}, {"why", current_.reason}});
    }
    return;
  }
  Log(LogLevel::kError, "reload refused: the old revision stays",
      {{"revision", report.revision}, {"why", current_.reason}});
  const auto& found = loaded_->diagnostics;
  if (found.empty()) Log(LogLevel::kError, "refused", {{"reason", report.text}});
  for (size_t i = 0; i < std::min(found.list().size(), kLoggedDiagnostics); ++i) {
    const conf::Diagnostic& one = found.list()[i];
    Log(LogLevel::kError, "refused",
        {{"at", found.Locate(one.position)}, {"path", one.path}, {"reason", one.message}});
  }
}

}  // namespace sluice
