#include "plugins/support/credential_places.h"

#include <algorithm>

#include "gateway/base/text.h"
#include "gateway/http/uri.h"

namespace sluice::plugins {
namespace {

constexpr std::string_view kBearer = "Bearer ";

void Add(std::string_view value, CredentialPlaces::Found& found) {
  using Outcome = CredentialPlaces::Outcome;
  found.outcome = found.outcome == Outcome::kNone ? Outcome::kOne : Outcome::kSeveral;
  found.value = found.outcome == Outcome::kOne ? value : std::string_view();
}

// What stands behind `value`, which is a part of `text`.
std::string_view Behind(std::string_view text, std::string_view value) {
  return text.substr(static_cast<size_t>(value.data() + value.size() - text.data()));
}

}  // namespace

CredentialPlaces::Found CredentialPlaces::Find(RequestContext& request) const {
  Found found;
  if (!names_.header.empty()) FindInHeader(request, found);
  if (!names_.query.empty()) FindInQuery(request, found);
  if (!names_.cookie.empty()) FindInCookies(request, found);
  return found;
}

bool CredentialPlaces::IsOurs(std::string_view& value) const {
  if (form_ == Form::kPlain) return true;
  if (EqualsIgnoreCase(value.substr(0, kBearer.size()), kBearer)) {
    value = TrimOws(value.substr(kBearer.size()));
    return true;
  }
  return value.find(' ') == std::string_view::npos;
}

void CredentialPlaces::FindInHeader(RequestContext& request, Found& found) const {
  bool any = false;
  for (const HeaderField& field : request.head().fields) {
    if (!IsNamed(field, names_.header, header_id_)) continue;
    std::string_view value = field.value;
    if (IsOurs(value)) Add(value, found);
    any = true;
  }
  if (any) request.HideHeaderInLogs(names_.header);
}

void CredentialPlaces::FindInQuery(RequestContext& request, Found& found) const {
  std::string_view rest = request.head().query;
  bool any = false;
  while (!rest.empty()) {
    const std::string_view value = FindQueryArgument(rest, names_.query);
    if (value.data() == nullptr) break;
    rest = Behind(rest, value);
    const bool plain = value.find_first_of("%+") == std::string_view::npos;
    Add(plain ? value : request.arena().Copy(DecodeQueryComponent(value)), found);
    any = true;
  }
  if (any) request.HideArgumentInLogs(names_.query);
}

void CredentialPlaces::FindInCookies(RequestContext& request, Found& found) const {
  if (!request.head().fields.Has(HeaderId::kCookie)) return;
  bool any = false;
  for (const HeaderField& field : request.head().fields) {
    if (field.id != HeaderId::kCookie) continue;
    std::string_view rest = field.value;
    while (!rest.empty()) {
      const std::string_view value = FindCookie(rest, names_.cookie);
      if (value.data() == nullptr) break;
      Add(value, found);
      rest = Behind(rest, value);
      any = true;
    }
  }
  if (any) request.HideCookieInLogs(names_.cookie);
}

Status CredentialPlaces::Hide(RequestContext& request) const {
  if (!names_.header.empty()) HideInHeader(request);
  if (!names_.cookie.empty()) HideInCookies(request);
  return names_.query.empty() ? Status() : HideInQuery(request);
}

void CredentialPlaces::HideInHeader(RequestContext& request) const {
  for (const HeaderField& field : request.head().fields) {
    std::string_view value = field.value;
    if (IsNamed(field, names_.header, header_id_) && IsOurs(value)) {
      return request.RemoveHeader(names_.header);
    }
  }
}

Status CredentialPlaces::HideInQuery(RequestContext& request) const {
  const std::string_view uri = request.upstream_uri();
  const size_t mark = uri.find('?');
  if (mark == std::string_view::npos) return {};
  const std::string_view query = uri.substr(mark + 1);
  if (FindQueryArgument(query, names_.query).data() == nullptr) return {};
  const std::string rest = ReplaceQueryArguments(query, names_.query, std::nullopt);
  std::string hidden(uri.substr(0, mark));
  if (!rest.empty()) hidden.append("?").append(rest);
  return request.SetUpstreamUri(hidden);
}

void CredentialPlaces::HideInCookies(RequestContext& request) const {
  std::string rest;
  bool any = false;
  for (const HeaderField& field : request.head().fields) {
    if (field.id != HeaderId::kCookie) continue;
    any = any || FindCookie(field.value, names_.cookie).data() != nullptr;
    const std::string kept = ReplaceCookies(field.value, names_.cookie, std::nullopt);
    if (!kept.empty()) rest.append(rest.empty() ? "" : "; ").append(kept);
  }
  if (!any) return;
  rest.empty() ? request.RemoveHeader("Cookie") : request.SetHeader("Cookie", rest);
}

}  // namespace sluice::plugins
