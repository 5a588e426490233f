// From an Error to what the client sees. The one place where a status code is derived from an
// ErrorCode, and where gateway-made bodies are written.
#pragma once

#include <string>
#include <string_view>

#include "gateway/base/error.h"
#include "gateway/base/time.h"

namespace sluice {

// The status of a gateway-made reply; 499 for a client that went away (log only).
int StatusOf(ErrorCode code);

// "Bad Gateway"; empty for an unknown status.
std::string_view StatusText(int status);

// {"error_msg":"502 Bad Gateway","reason":"connect_refused"}; in APISIX's words, plus our reason.
std::string ErrorBody(ErrorCode code);
std::string ErrorBody(ErrorCode code, int status);  // where the code has no status of its own

// The value of Retry-After: whole seconds, at least one.
std::string RetryAfter(Duration wait);

// Must the connection be closed after this reply, because the request's end is not known?
bool ClosesConnection(ErrorCode code);

}  // namespace sluice
