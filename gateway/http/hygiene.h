// The rules that a head must pass before anything is decided on it: RFC 9110/9112 framing, Host,
// and field syntax beyond what the parser checks (semantics: RFC 9112 3.2, 6.1, 6.3; RFC 9110 5.5).
// Called by the codecs on every head; each refusal is an Error with the status' code.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "gateway/base/result.h"
#include "gateway/http/message.h"

namespace sluice {

// Checks fields, Host and target form; sets body, keep_alive, expect_continue, scheme, authority,
// path and query of `head`.
Status CheckRequest(RequestHead& head);

// Checks framing; sets body and keep_alive of `head`. `request_method`: of the request it answers.
Status CheckResponse(ResponseHead& head, Method request_method);

// May this field stand in a trailer section and be forwarded (RFC 9110 6.5.1)?
bool IsForwardableTrailer(HeaderId id, std::string_view name);

// RFC 9110 10.1.1: sets expect_continue, refuses any other expectation. After the body is known.
Status CheckExpect(RequestHead& head);

// RFC 9110 8.6: digits only, and no more than a signed counter holds.
std::optional<uint64_t> ParseContentLength(std::string_view value);

// "transfer_encoding", "content_length": some servers read them as the real ones (they map '-' and
// '_' to one variable).
bool IsFramingLookalike(std::string_view name);

bool IsToken(std::string_view text);           // RFC 9110 5.6.2
bool IsFieldValue(std::string_view text);      // no CTL but HTAB; obs-text allowed
bool IsValidAuthority(std::string_view text);  // host[:port], no userinfo

}  // namespace sluice
