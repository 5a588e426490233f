// Who sends requests, as the snapshot has compiled it: found by an authentication plugin, then set
// for the request, whose chain the consumer's own plugins join.
#pragma once

#include <string>
#include <vector>

#include "gateway/http/headers.h"
#include "gateway/plugin/chain.h"

namespace sluice {

struct Consumer {
  std::string username;
  std::string group_id;   // empty: none
  std::string custom_id;  // APISIX's label of that name; empty: none
  std::vector<std::pair<std::string, std::string>> labels;
  // Its own and its group's, by priority, without those that authenticate.
  std::vector<ChainPlugin> plugins;
};

// The fields by which upstreams learn who sends a request: RequestContext::SetConsumer sets them.
inline constexpr std::string_view kConsumerUsername = "X-Consumer-Username";
inline constexpr std::string_view kConsumerCustomId = "X-Consumer-Custom-ID";
inline constexpr std::string_view kCredentialIdentifier = "X-Credential-Identifier";

// Removes what a client says of that itself: these fields, all others of X-Consumer-*, and the same
// with '_', which many upstreams do not tell from '-'.
void RemoveIdentityFields(HeaderList& fields);

}  // namespace sluice
