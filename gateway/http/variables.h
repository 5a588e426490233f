// nginx's request variables by name ($remote_addr, $uri, $arg_x, $http_x, $cookie_x …), compiled
// once and read many times: used by `vars` predicates, log templates, and later by limit keys.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

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

// Reads "$name" or "${name}" at the start of `rest`, which begins with '$', and removes it.
Result<std::string_view> TakeVariableName(std::string_view& rest);

}  // namespace sluice
