// `checks` and `outlier_detection` of upstreams.
#include <algorithm>

#include "conf/decode.h"
#include "gateway/base/text.h"

namespace sluice::conf {
namespace {

constexpr size_t kLongestBody = 64 * 1024;
constexpr uint32_t kLongestInterval = 24 * 3600;

struct Statuses {
  std::optional<StatusSet> operator()(const Place& place) const {
    const auto list = ListOf<Integer<uint16_t>>{.item = {200, 599}, .min = 1}(place);
    if (!list) return std::nullopt;
    StatusSet set;
    for (const uint16_t status : *list) set.set(status);
    return set;
  }
};

// Whole seconds, as APISIX has them.
struct Interval {
  std::optional<Duration> operator()(const Place& place) const {
    const auto value = Integer<uint32_t>{1, kLongestInterval}(place);
    return value ? std::optional<Duration>(seconds(*value)) : std::nullopt;
  }
};

Choice<CheckType> CheckTypes() {
  return {{{"http", CheckType::kHttp}, {"https", CheckType::kHttps}, {"tcp", CheckType::kTcp}}};
}

struct RequestPath {
  std::optional<std::string> operator()(const Place& place) const {
    const std::string& path = place.node.text;
    const bool plain = std::all_of(path.begin(), path.end(),
                                   [](char c) { return c > ' ' && c < 0x7f && c != '#'; });
    if (place.node.is_string() && path.starts_with('/') && plain && path.size() <= 4096) {
      return path;
    }
    return place.Expected("a path that begins with / and has neither spaces nor '#'");
  }
};

// Any text, line ends too.
struct RequestBody {
  std::optional<std::string> operator()(const Place& place) const {
    if (place.node.is_string() && place.node.text.size() <= kLongestBody) return place.node.text;
    return place.Expected("a text of at most 65536 bytes");
  }
};

bool IsFieldName(std::string_view name) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::all_of(name.begin(), name.end(), [&](char c) {
    const char lower = AsciiLower(c);
    return IsDigit(c) || (lower >= 'a' && lower <= 'z') || kMarks.find(c) != kMarks.npos;
  });
}

struct RequestHeader {
  std::optional<std::string> operator()(const Place& place) const {
    constexpr std::string_view kExpected = "a header field such as \"User-Agent: health\"";
    const auto text = Text{1, 4096}(place);
    if (!text) return std::nullopt;
    const size_t colon = text->find(':');
    if (colon == std::string::npos) return place.Expected(kExpected);
    const std::string_view name = std::string_view(*text).substr(0, colon);
    if (!IsFieldName(name)) return place.Expected(kExpected);
    if (EqualsIgnoreCase(name, "host")) return place.Expected(kExpected, "the field is \"host\"");
    for (const std::string_view ours : {"connection", "content-length", "transfer-encoding"}) {
      if (EqualsIgnoreCase(name, ours)) {
        return place.Expected("a header field other than " + std::string(ours) +
                              ", which follows from the request");
      }
    }
    return std::string(name) + ": " +
           std::string(TrimOws(std::string_view(*text).substr(colon + 1)));
  }
};

// healthy and unhealthy differ in their ranges: active checks count everything.
Fields<HealthRules> HealthyFields(uint8_t least) {
  using T = HealthRules;
  return {Bind("http_statuses", &T::healthy_statuses, Statuses{}),
          Bind("successes", &T::successes, Integer<uint8_t>{least, 254})};
}

Fields<HealthRules> UnhealthyFields(uint8_t least) {
  using T = HealthRules;
  const Integer<uint8_t> count{least, 254};
  return {Bind("http_statuses", &T::unhealthy_statuses, Statuses{}),
          Bind("http_failures", &T::http_failures, count),
          Bind("tcp_failures", &T::tcp_failures, count), Bind("timeouts", &T::timeouts, count)};
}

// A map of an active check: rules, and beside them how often to look.
Field<ActiveCheck> ActivePart(std::string_view name, const Fields<HealthRules>& rules,
                              Duration ActiveCheck::*interval) {
  Fields<ActiveCheck> fields = {Bind("interval", interval, Interval{})};
  for (const Field<HealthRules>& rule : rules) {
    fields.push_back({rule.name, [store = rule.store](const Place& place, ActiveCheck& check) {
                        store(place, check.rules);
                      }});
  }
  return {name, [fields = std::move(fields)](const Place& place, ActiveCheck& check) {
            ReadFields(place, fields, check);
          }};
}

Field<PassiveCheck> PassivePart(std::string_view name, Fields<HealthRules> rules) {
  return {name, [rules = std::move(rules)](const Place& place, PassiveCheck& check) {
            ReadFields(place, rules, check.rules);
          }};
}

std::optional<ActiveCheck> ReadActive(const Place& place) {
  using T = ActiveCheck;
  static const Fields<T> kFields = {
      Bind("type", &T::type, CheckTypes()),
      Bind("timeout", &T::timeout, Seconds{}),
      Bind("concurrency", &T::concurrency, Integer<uint32_t>{.min = 1}),
      Bind("http_method", &T::method,
           Choice<std::string>{{{"GET", "GET"},
                                {"HEAD", "HEAD"},
                                {"POST", "POST"},
                                {"PUT", "PUT"},
                                {"DELETE", "DELETE"},
                                {"PATCH", "PATCH"},
                                {"OPTIONS", "OPTIONS"},
                                {"PURGE", "PURGE"}},
                               {"CONNECT", "TRACE"}}),
      Bind("http_path", &T::path, RequestPath{}),
      Bind("http_req_body", &T::body, RequestBody{}),
      Bind("req_headers", &T::headers, ListOf<RequestHeader>{.item = {}, .min = 1}),
      Bind("host", &T::host, HostValue{}),
      Bind("port", &T::port, Integer<uint16_t>{1, 65535}),
      Bind("https_verify_certificate", &T::verify, Boolean{}),
      ActivePart("healthy", HealthyFields(1), &T::healthy_interval),
      ActivePart("unhealthy", UnhealthyFields(1), &T::unhealthy_interval),
  };
  return Record<T>{kFields}(place);
}

std::optional<PassiveCheck> ReadPassive(const Place& place) {
  using T = PassiveCheck;
  static const Fields<T> kFields = {
      Bind("type", &T::type, CheckTypes()),
      PassivePart("healthy", HealthyFields(0)),
      PassivePart("unhealthy", UnhealthyFields(0)),
  };
  return Record<T>{kFields}(place);
}

struct Active {
  std::optional<ActiveCheck> operator()(const Place& place) const { return ReadActive(place); }
};

struct Passive {
  std::optional<PassiveCheck> operator()(const Place& place) const { return ReadPassive(place); }
};

}  // namespace

std::optional<ChecksConfig> Checks::operator()(const Place& place) const {
  using T = ChecksConfig;
  static const Fields<T> kFields = {
      Required(Bind("active", &T::active, Active{})),
      Bind("passive", &T::passive, Passive{}),
  };
  return Record<T>{kFields}(place);
}

std::optional<OutlierDetection> Outliers::operator()(const Place& place) const {
  using T = OutlierDetection;
  constexpr TimeSpan kTime{.min = milliseconds(100), .max = hours(24)};
  static const Fields<T> kFields = {
      Bind("consecutive_errors", &T::consecutive_errors, Integer<uint8_t>{0, 255}),
      Bind("consecutive_gateway_errors", &T::consecutive_gateway_errors, Integer<uint8_t>{0, 255}),
      Bind("failure_percentage", &T::failure_percentage, Integer<uint8_t>{0, 100}),
      Bind("minimum_hosts", &T::minimum_hosts, Integer<uint32_t>{.min = 1}),
      Bind("minimum_requests", &T::minimum_requests, Integer<uint32_t>{1, 32767}),
      Bind("interval", &T::interval, kTime),
      Bind("base_ejection_time", &T::base_ejection_time, kTime),
      Bind("max_ejection_time", &T::max_ejection_time, kTime),
      Bind("max_ejection_percent", &T::max_ejection_percent, Integer<uint8_t>{0, 100}),
      Bind("always_eject_one", &T::always_eject_one, Boolean{}),
  };
  auto outlier = Record<T>{kFields}(place);
  if (!outlier) return std::nullopt;
  if (outlier->consecutive_errors == 0 && outlier->consecutive_gateway_errors == 0 &&
      outlier->failure_percentage == 0) {
    place.Fail(
        "nothing would be ejected: each of consecutive_errors, consecutive_gateway_errors "
        "and failure_percentage is 0",
        "leave outlier_detection out");
  }
  if (outlier->max_ejection_percent == 0 && !outlier->always_eject_one) {
    place.Fail("nothing would be ejected: max_ejection_percent is 0",
               "leave outlier_detection out");
  }
  return outlier;
}

}  // namespace sluice::conf
