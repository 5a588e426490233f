// The rules that a head must pass before anything is decided on it: RFC 9110/9112 framing, Host,
// and field syntax beyond what the parser checks (semantics: RFC 9112 3.2, 6.1, 6.3; RFC 9110 5.5).
// Called by the codecs on every head; each refusal is an Error with the status' code.
#pragma once

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

bool IsToken(std::string_view text);           // RFC 9110 5.6.2
bool IsFieldValue(std::string_view text);      // no CTL but HTAB; obs-text allowed
bool IsValidAuthority(std::string_view text);  // host[:port], no userinfo

}  // namespace sluice
