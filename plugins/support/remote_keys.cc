#include "plugins/support/remote_keys.h"

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <utility>

#include "gateway/base/log.h"

namespace sluice::plugins {
namespace {

constexpr Duration kPause = minutes(1);  // between fetches
constexpr size_t kMostWaiting = 1000;
constexpr Duration kForgottenAfter = hours(24);
constexpr size_t kMostNames = 1000;

}  // namespace

std::shared_ptr<RemoteKeys> RemoteKeys::Of(const std::string& name, MonoTime now) {
  static std::unordered_map<std::string, std::shared_ptr<RemoteKeys>> all;
  const auto found = all.find(name);
  if (found != all.end()) {
    found->second->used_ = now;
    return found->second;
  }
  // Configurations that are gone have left some behind.
  if (all.size() >= kMostNames) {
    std::erase_if(all,
                  [now](const auto& entry) { return now - entry.second->used_ > kForgottenAfter; });
  }
  auto keys = std::make_shared<RemoteKeys>(name);
  keys->used_ = now;
  return all.emplace(name, std::move(keys)).first->second;
}

bool RemoteKeys::may_fetch(MonoTime now) const {
  return under_way_ || !ever_ || now - begun_ >= kPause;
}

bool RemoteKeys::Begin(Fetch fetch, std::function<void()> done) {
  if (done != nullptr) {
    if (waiting_.size() == kMostWaiting) return false;
    waiting_.push_back(std::move(done));
  }
  if (std::exchange(under_way_, true)) return true;
  ever_ = true;
  begun_ = fetch.services.now();
  fetch.sender->Send(
      std::move(fetch.request),
      [keep = shared_from_this(), &services = fetch.services](const Result<SubResponse>& response) {
        keep->OnResponse(response, services);
      });
  return true;
}

// Reading keys takes longer than a loop may be held: each is checked to be on its curve.
void RemoteKeys::OnResponse(const Result<SubResponse>& response, PluginServices& services) {
  std::optional<std::string> why;
  if (!response.has_value()) {
    why = response.error().detail;
  } else if (response->status != 200) {
    why = "expected status 200, got " + std::to_string(response->status);
  }
  if (why) {
    return OnRead(GatewayError(ErrorCode::kPluginFailed, *std::move(why)), services.now());
  }
  struct Reading {
    std::string text;
    std::optional<Result<JwkSet>> keys;
  };
  auto reading = std::make_shared<Reading>();
  reading->text = response->body;
  services.RunOffLoop([reading] { reading->keys = JwkSet::Make(reading->text); },
                      [reading, keep = shared_from_this(), &services] {
                        keep->OnRead(*std::move(reading->keys), services.now());
                      });
}

void RemoteKeys::OnRead(Result<JwkSet> keys, MonoTime now) {
  if (keys.has_value()) {
    keys_ = std::make_shared<const JwkSet>(*std::move(keys));
    fetched_ = now;
    Log(LogLevel::kInfo, "fetched the keys of an issuer",
        {{"url", name_}, {"keys", keys_->keys().size()}});
  } else {
    Log(LogLevel::kWarn, "could not fetch the keys of an issuer",
        {{"url", name_},
         {"reason", keys.error().detail},
         {"kept", keys_ == nullptr ? 0 : keys_->keys().size()}});
  }
  under_way_ = false;
  // One that is waiting may have a token that asks for another fetch.
  for (const auto& done : std::exchange(waiting_, {})) done();
}

}  // namespace sluice::plugins
