#include "gateway/plugin/registry.h"

#include <algorithm>
#include <utility>

#include "conf/schema.h"
#include "gateway/plugin/plugin.h"

namespace sluice {
namespace {

// All plugins of APISIX 3.18 with their priorities, by name.
constexpr std::pair<std::string_view, int> kApisix[] = {
    {"acl", 2410},
    {"ai", 22900},
    {"ai-aliyun-content-moderation", 1029},
    {"ai-aws-content-moderation", 1031},
    {"ai-cache", 1035},
    {"ai-lakera-guard", 1028},
    {"ai-prompt-decorator", 1070},
    {"ai-prompt-guard", 1072},
    {"ai-prompt-template", 1071},
    {"ai-proxy", 1040},
    {"ai-proxy-multi", 1041},
    {"ai-rag", 1060},
    {"ai-rate-limiting", 1030},
    {"ai-request-rewrite", 1073},
    {"api-breaker", 1005},
    {"attach-consumer-label", 2399},
    {"authz-casbin", 2560},
    {"authz-casdoor", 2559},
    {"authz-keycloak", 2000},
    {"aws-lambda", -1899},
    {"azure-functions", -1900},
    {"basic-auth", 2520},
    {"batch-requests", 4010},
    {"body-transformer", 1080},
    {"brotli", 996},
    {"cas-auth", 2597},
    {"chaitin-waf", 2700},
    {"clickhouse-logger", 398},
    {"client-control", 22000},
    {"consumer-restriction", 2400},
    {"cors", 4000},
    {"csrf", 2980},
    {"data-mask", 1500},
    {"datadog", 495},
    {"degraphql", 509},
    {"dingtalk-auth", 2430},
    {"dubbo-proxy", 507},
    {"echo", 412},
    {"elasticsearch-logger", 413},
    {"error-log-logger", 1091},
    {"error-page", 450},
    {"example-plugin", 0},
    {"exit-transformer", 22950},
    {"ext-plugin-post-req", -3000},
    {"ext-plugin-post-resp", -4000},
    {"ext-plugin-pre-req", 12000},
    {"fault-injection", 11000},
    {"feishu-auth", 2420},
    {"file-logger", 399},
    {"forward-auth", 2002},
    {"gm", -43},
    {"google-cloud-logging", 407},
    {"graphql-limit-count", 1004},
    {"graphql-proxy-cache", 1009},
    {"grpc-transcode", 506},
    {"grpc-web", 505},
    {"gzip", 995},
    {"hmac-auth", 2530},
    {"http-dubbo", 504},
    {"http-logger", 410},
    {"inspect", 200},
    {"ip-restriction", 3000},
    {"jwe-decrypt", 2509},
    {"jwt-auth", 2510},
    {"kafka-logger", 403},
    {"kafka-proxy", 508},
    {"key-auth", 2500},
    {"lago", 415},
    {"ldap-auth", 2540},
    {"ldap-auth-advanced", 2541},
    {"limit-conn", 1003},
    {"limit-count", 1002},
    {"limit-req", 1001},
    {"log-rotate", 100},
    {"loggly", 411},
    {"loki-logger", 414},
    {"mcp-bridge", 510},
    {"mocking", 10900},
    {"mqtt-proxy", 1000},
    {"multi-auth", 2600},
    {"node-status", 1000},
    {"oas-validator", 512},
    {"ocsp-stapling", -44},
    {"opa", 2001},
    {"openfunction", -1902},
    {"openid-connect", 2599},
    {"opentelemetry", 12009},
    {"openwhisk", -1901},
    {"prometheus", 500},
    {"proxy-buffering", 21991},
    {"proxy-cache", 1085},
    {"proxy-control", 21990},
    {"proxy-mirror", 1010},
    {"proxy-rewrite", 1008},
    {"public-api", 501},
    {"real-ip", 23000},
    {"redirect", 900},
    {"referer-restriction", 2990},
    {"request-id", 12015},
    {"request-validation", 2800},
    {"response-rewrite", 899},
    {"rocketmq-logger", 402},
    {"saml-auth", 2598},
    {"server-info", 990},
    {"serverless-post-function", -2000},
    {"serverless-pre-function", 10000},
    {"skywalking", 12010},
    {"skywalking-logger", 408},
    {"sls-logger", 406},
    {"splunk-hec-logging", 409},
    {"syslog", 401},
    {"tcp-logger", 405},
    {"tencent-cloud-cls", 397},
    {"traffic-label", 967},
    {"traffic-split", 966},
    {"ua-restriction", 2999},
    {"udp-logger", 400},
    {"uri-blocker", 2900},
    {"wolf-rbac", 2555},
    {"workflow", 1006},
    {"zipkin", 12011},
};

// The first registered; before any constructor runs.
constinit const PluginKind* first_kind = nullptr;

}  // namespace

void PluginRegistry::Add(PluginKind& kind) {
  kind.next = first_kind;
  first_kind = &kind;
}

const PluginKind* PluginRegistry::Find(std::string_view name) {
  const PluginKind* kind = first_kind;
  while (kind != nullptr && kind->traits.name != name) kind = kind->next;
  return kind;
}

std::vector<const PluginKind*> PluginRegistry::All() {
  std::vector<const PluginKind*> kinds;
  for (const PluginKind* kind = first_kind; kind != nullptr; kind = kind->next) {
    kinds.push_back(kind);
  }
  std::sort(kinds.begin(), kinds.end(), [](const PluginKind* a, const PluginKind* b) {
    return a->traits.name < b->traits.name;
  });
  return kinds;
}

std::optional<int> PluginRegistry::ApisixPriority(std::string_view name) {
  for (const auto& [known, priority] : kApisix) {
    if (known == name) return priority;
  }
  return std::nullopt;
}

PluginRegistry::Refusal PluginRegistry::Refuse(std::string_view name) {
  const std::string quoted = "\"" + std::string(name) + "\"";
  if (ApisixPriority(name)) {
    return {"the plugin " + quoted +
                " is not built yet; it is refused because ignoring it could do harm",
            {}};
  }
  std::vector<std::string_view> names;
  for (const PluginKind* kind : All()) names.push_back(kind->traits.name);
  for (const auto& [known, priority] : kApisix) names.push_back(known);
  return {"there is no plugin " + quoted, conf::Suggest(name, names)};
}

}  // namespace sluice
