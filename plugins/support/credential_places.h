// Where a request carries a key or a token: a header field, an argument of the query, a cookie. A
// request that has more than one is refused by whoever asks: the upstream could believe the one
// that was not verified (RFC 6750, section 2, forbids it to clients). Constant.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "gateway/base/result.h"
#include "gateway/plugin/request_context.h"

namespace sluice::plugins {

class CredentialPlaces {
 public:
  struct Names {
    std::string header = {};  // each: empty, nothing is looked for there
    std::string query = {};
    std::string cookie = {};
  };
  // Of a header field's value: all of it, or what follows "Bearer " (in any case). Then a value of
  // another scheme ("Basic ...") is somebody else's.
  enum class Form : uint8_t { kPlain, kBearer };

  enum class Outcome : uint8_t { kNone, kOne, kSeveral };
  struct Found {
    Outcome outcome = Outcome::kNone;
    std::string_view value;  // kOne; lives as long as the request
  };

  CredentialPlaces(Names names, Form form)
      : names_(std::move(names)), header_id_(FindHeaderId(names_.header)), form_(form) {}

  // Values do not show in logs from then on.
  Found Find(RequestContext& request) const;
  // Takes all that Find finds out of what the upstream gets; only after Find. An error: it would
  // still be there.
  Status Hide(RequestContext& request) const;

 private:
  bool IsOurs(std::string_view& value) const;
  void FindInHeader(RequestContext& request, Found& found) const;
  void FindInQuery(RequestContext& request, Found& found) const;
  void FindInCookies(RequestContext& request, Found& found) const;
  void HideInHeader(RequestContext& request) const;
  Status HideInQuery(RequestContext& request) const;
  void HideInCookies(RequestContext& request) const;

  const Names names_;
  const HeaderId header_id_;
  const Form form_;
};

}  // namespace sluice::plugins
