// The keys that an issuer publishes at a URL (its jwks_uri), as this worker knows them. Fetched
// when a token asks for them, again when they are old or a token names one that is not there, at
// most once a minute; until others have come the old ones hold. Found by name, so that they outlive
// a reload. Used on the loop thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gateway/base/time.h"
#include "gateway/plugin/services.h"
#include "gateway/plugin/sub_request.h"
#include "plugins/support/jwk.h"

namespace sluice::plugins {

class RemoteKeys : public std::enable_shared_from_this<RemoteKeys> {
 public:
  // What a fetch is done with.
  struct Fetch {
    SubRequest request;
    std::shared_ptr<SubRequestSender> sender;
    PluginServices& services;
  };

  // `name` stands for the URL and all that matters for whom is asked there.
  static std::shared_ptr<RemoteKeys> Of(const std::string& name, MonoTime now);

  explicit RemoteKeys(std::string name) : name_(std::move(name)) {}

  const std::shared_ptr<const JwkSet>& keys() const { return keys_; }  // null: none yet
  bool is_older_than(Duration age, MonoTime now) const { return now - fetched_ >= age; }
  bool is_under_way() const { return under_way_; }
  // Is one under way, or has none begun for a minute?
  bool may_fetch(MonoTime now) const;
  // Begins one if none is under way; then `done`, if given, is called at its end. False: too many
  // wait already. Precondition: may_fetch.
  bool Begin(Fetch fetch, std::function<void()> done);

 private:
  void OnResponse(const Result<SubResponse>& response, PluginServices& services);
  void OnRead(Result<JwkSet> keys, MonoTime now);

  const std::string name_;
  std::shared_ptr<const JwkSet> keys_;
  MonoTime fetched_;
  MonoTime begun_;
  MonoTime used_;
  bool under_way_ = false;
  bool ever_ = false;
  std::vector<std::function<void()>> waiting_;
};

}  // namespace sluice::plugins
