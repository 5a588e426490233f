// The rules that a head must pass when it came over HTTP/2, before anything is decided on it (RFC
// 9113 8.2 and 8.3; RFC 8441), stricter where the message becomes HTTP/1.1 behind us. The same
// answers as hygiene.h gives for HTTP/1, so that no layer above can tell the two apart.
#pragma once

#include <string_view>

#include "gateway/base/result.h"
#include "gateway/http/message.h"

namespace sluice {

// Pseudo-header fields; null data() when absent. One that is unknown, repeated or behind a field
// stands among the fields instead.
struct Http2PseudoFields {
  std::string_view method;
  std::string_view scheme;
  std::string_view authority;
  std::string_view path;
  std::string_view protocol;  // extended CONNECT
  std::string_view status;
};

// Method and target as they came, unchecked: all that a log can say of a request that is refused.
void SetHttp2RequestLine(const Http2PseudoFields& pseudo, RequestHead& head);

// Checks fields, Host and target; sets everything in `head` but the fields, to which it adds Host
// where only :authority came. `ended`: the head had END_STREAM. kUriTooLong, kHeadersTooLarge and
// kExpectationFailed deserve an answer; every other error makes the message malformed (8.1.1).
Status CheckHttp2Request(const Http2PseudoFields& pseudo, bool ended, RequestHead& head);

// `request_method`: of the request that is answered.
Status CheckHttp2Response(const Http2PseudoFields& pseudo, bool ended, Method request_method,
                          ResponseHead& head);

// Are all of these valid (lower-case names, no control characters), and none about a connection?
Status CheckHttp2Fields(const HeaderList& fields);

}  // namespace sluice
