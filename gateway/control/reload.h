// The controller's part in replacing the configuration: reads the file, checks and rehearses it off
// the loop, and leads the roll-out through master. One at a time; what is asked for meanwhile is
// served by the next one, which reads the file anew. Owned by the controller.
//
//   idle ─▶ loading ─▶ preparing ─▶ committing ─▶ idle      any failure: report, idle; the old
//                                                            revision stays
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "conf/diagnostics.h"
#include "conf/resources.h"
#include "gateway/base/time.h"
#include "gateway/base/unique_fd.h"
#include "gateway/control/config_diff.h"
#include "gateway/control/messages.h"
#include "gateway/control/process_settings.h"
#include "gateway/net/loop.h"
#include "gateway/proxy/tls_resources.h"

namespace sluice {

struct ReloadReport {
  bool ok = false;
  uint64_t revision = 0;           // that serves now
  bool changed = false;            // ok: this reload brought the revision
  WallTime since{};                // when the revision came; the epoch: it is the one of the start
  ConfigDiff diff{};               // ok: what the revision changed
  std::string text{};              // not ok: why, as `sluice check` prints it
  std::string diagnostics = "[]";  // the same as JSON

  // What `sluice reload` prints.
  std::string Describe() const;
  // One line of JSON, the answer on the control socket.
  std::string ToJson() const;
};

class Reload {
 public:
  using Done = std::function<void(const ReloadReport&)>;

  struct Observer {
    std::function<void(MessageType type, const std::string& payload, int document)> send;
    // After each reading: the files that it depends on.
    std::function<void(const std::vector<std::string>& files)> on_files;
    // After each revision that has come to serve.
    std::function<void(const conf::Config& config, const TlsResources& tls)> on_committed;
    // After each reload that found a change: did it come to serve?
    std::function<void(bool committed)> on_result;
  };

  Reload(Loop& loop, const ControllerStart& start, std::shared_ptr<const conf::Config> committed,
         Observer observer);
  ~Reload();

  // `reason` is for the log; `done` may be empty. `quietly`: not worth a line when nothing changed.
  void Request(std::string_view reason, bool quietly, Done done = {});

  // What serves now.
  const conf::Config& committed() const { return *committed_; }
  const std::shared_ptr<const conf::Config>& committed_config() const { return committed_; }
  uint64_t revision() const { return revision_; }

  // Master's answers. A number that is not ours is an answer to a roll-out given up before.
  void OnPrepared(uint64_t revision);
  void OnRefused(uint64_t revision, bool retry, const std::string& text);
  void OnCommitted(uint64_t revision);

 private:
  enum class Phase : uint8_t { kIdle, kLoading, kPreparing, kCommitting };
  struct Loaded;

  struct Asked {
    std::string reason;
    bool quietly = true;
    std::vector<Done> done;
    void Add(std::string_view why, bool silent, Done call);
  };

  void Begin();
  void Announce();
  static void Load(Loaded& loaded);
  void OnLoaded(const std::shared_ptr<Loaded>& loaded);
  void Finish(const ReloadReport& report);
  void LogReport(const ReloadReport& report) const;

  Loop& loop_;
  const std::string config_path_;
  const PathOrigin origin_;
  const Observer observer_;
  std::shared_ptr<const conf::Config> committed_;
  std::shared_ptr<const TlsResources> committed_tls_;  // as rehearsed; null before a reload
  uint64_t revision_;
  uint64_t next_revision_;
  Phase phase_ = Phase::kIdle;
  WallTime since_{};  // of the committed revision
  ConfigDiff last_diff_;
  bool retried_ = false;
  bool announced_ = false;  // master has told the service manager
  Asked current_;
  Asked next_;
  std::shared_ptr<Loaded> loaded_;
};

}  // namespace sluice
