// nginx's request variables by name ($remote_addr, $uri, $arg_x, $http_x, $cookie_x …), compiled
// once and read many times: used by `vars` predicates, log templates, and later by limit keys.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/base/result.h"
#include "gateway/http/request_view.h"

namespace sluice {

class Variable {
 public:
  // `name` without '$'. An unknown name is an error that lists what exists.
  static Result<Variable> Make(std::string_view name);

  // The value, or a view with null data() when the request does not have it. Computed values are
  // placed in `scratch`, which must outlive the returned view.
  std::string_view Value(const RequestView& request, std::string& scratch) const;

  // post_arg_*: the router must collect a form body before it can match.
  bool needs_body() const { return kind_ == Kind::kPostArg; }
  const std::string& name() const { return name_; }
  // A piece of a URI as it is; other values have to be escaped to become one.
  bool is_uri_part() const {
    return kind_ == Kind::kUri || kind_ == Kind::kRequestUri || kind_ == Kind::kQueryString ||
           kind_ == Kind::kIsArgs || kind_ == Kind::kHost || kind_ == Kind::kHttpHost;
  }

 private:
  enum class Kind : uint8_t {
    kArg,
    kPostArg,
    kHeader,
    kCookie,
    kUri,
    kRequestUri,
    kQueryString,
    kIsArgs,
    kHost,
    kHttpHost,
    kScheme,
    kRequestMethod,
    kRemoteAddr,
    kRemotePort,
    kRealIpRemoteAddr,
    kServerAddr,
    kServerPort,
    kServerProtocol,
    kContentType,
    kContentLength,
    kRequest,
    kStatus,
    kRouteId,
    kServiceId,
    kConsumerName,
    kConsumerGroupId,
    kHttps,
    kSslProtocol,
    kSslCipher,
    kSslServerName,
    kSslClientVerify,
  };

  std::string_view TlsValue(const RequestView& request) const;

  Kind kind_ = Kind::kUri;
  HeaderId header_ = HeaderId::kOther;
  std::string name_;  // whole name
  std::string part_;  // of arg_, http_ (with '-'), cookie_, post_arg_
};

// A piece of a text with variables: literal text and the "$name" or "${name}" that follows it.
struct TemplatePart {
  std::string_view literal;
  std::string_view variable;  // its name; empty at the end of a text that ends with literal text
  size_t column = 0;          // of its '$', from 1
};

// The pieces of `text`, which they are views of. An error says in which column what was expected.
Result<std::vector<TemplatePart>> SplitTemplate(std::string_view text);

}  // namespace sluice
