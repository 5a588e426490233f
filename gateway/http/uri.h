// Path normalisation, in this one place: what comes out is what is matched, shown to plugins and
// forwarded. Ambiguous paths are refused, not repaired.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "gateway/base/arena.h"
#include "gateway/base/result.h"

namespace sluice {

// RFC 3986 6.2.2: decodes percent-encoded unreserved characters, upper-cases the other escapes,
// escapes bytes that may not stand raw in a path (such as UTF-8), removes dot segments (".." above
// the root is refused), merges slashes. Refused with kBadPath: %00, %2F, %5C, a raw backslash, a
// broken escape, raw controls and spaces, "?", "#", and dot segments with path parameters
// ("/..;x/", also as "%3B"). Normalising twice changes nothing. A path that is already normal is
// returned as it is, without a copy; otherwise the result lives in `arena`. "*" passes.
Result<std::string_view> NormalizePath(std::string_view path, Arena& arena);

// Percent-decodes a query component ('+' is a space); broken escapes stay as they are.
std::string DecodeQueryComponent(std::string_view text);

// The value of the first parameter `name` (decoded, case-sensitive) in a query string, still
// encoded; empty for "?name"; null view data() when absent.
std::string_view FindQueryArgument(std::string_view query, std::string_view name);

// The query with this value, as it stands, in place of that of each parameter `name` (decoded,
// case-sensitive), or without them.
std::string ReplaceQueryArguments(std::string_view query, std::string_view name,
                                  std::optional<std::string_view> value);

// The value of cookie `name` (case-sensitive) in a Cookie field; null view data() when absent.
std::string_view FindCookie(std::string_view cookies, std::string_view name);

// The Cookie field with this value for each cookie `name`, or without them; empty when none is
// left.
std::string ReplaceCookies(std::string_view cookies, std::string_view name,
                           std::optional<std::string_view> value);

// A host as it is matched: lower case, no port, no trailing dot, brackets kept for IPv6. Without a
// copy when it is lower case already. Precondition: IsValidAuthority, or empty.
std::string_view NormalizeHost(std::string_view authority, Arena& arena);

}  // namespace sluice
