// The heads of a request and a response as every layer above the codecs sees them, whatever HTTP
// version carried them. All views point into bytes owned by whoever holds the head.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

#include "gateway/http/headers.h"

namespace sluice {

enum class Method : uint8_t {
  kOther,
  kGet,
  kHead,
  kPost,
  kPut,
  kPatch,
  kDelete,
  kOptions,
  kConnect,
  kTrace,
  kPurge,
  kCount,
};

Method FindMethod(std::string_view name);    // case-sensitive, as RFC 9110 9.1 says
std::string_view MethodName(Method method);  // empty for kOther

// RFC 9110 9.2.2: sending it twice has the effect of sending it once.
constexpr bool IsIdempotent(Method method) {
  return method == Method::kGet || method == Method::kHead || method == Method::kPut ||
         method == Method::kDelete || method == Method::kOptions || method == Method::kTrace;
}

enum class HttpVersion : uint8_t { kHttp10, kHttp11, kHttp2 };

// How the end of a body is known (RFC 9112 6.3).
struct BodyFraming {
  enum class Kind : uint8_t { kNone, kLength, kChunked, kUntilClose };
  Kind kind = Kind::kNone;
  uint64_t length = 0;  // kLength only

  bool has_body() const { return kind != Kind::kNone && !(kind == Kind::kLength && length == 0); }
};

struct RequestHead {
  Method method = Method::kOther;
  HttpVersion version = HttpVersion::kHttp11;
  bool keep_alive = true;        // the client wants the connection kept
  bool expect_continue = false;  // Expect: 100-continue from an HTTP/1.1 client
  bool websocket = false;        // extended CONNECT (RFC 8441), with GET as the method
  std::string_view method_text;
  std::string_view target;     // as received
  std::string_view scheme;     // of an absolute-form target, otherwise empty
  std::string_view authority;  // of an absolute-form target, otherwise Host; with the port
  std::string_view path;       // raw path of the target ("*" for OPTIONS *)
  std::string_view query;      // raw, without '?'
  bool has_query = false;      // "/a?" has an empty query, "/a" has none
  HeaderList fields;
  BodyFraming body;
};

struct ResponseHead {
  int status = 0;
  HttpVersion version = HttpVersion::kHttp11;
  bool keep_alive = true;  // the connection may carry another exchange
  std::string_view reason;
  HeaderList fields;
  BodyFraming body;
};

// Makes `head` as new, but for the memory of its list of fields.
template <typename Head>
void ForgetHead(Head& head) {
  HeaderList fields = std::move(head.fields);
  fields.Clear();
  head = Head();
  head.fields = std::move(fields);
}

}  // namespace sluice
