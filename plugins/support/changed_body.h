// What the fields of a response still say of a body that is changed on its way.
#pragma once

#include <string_view>

#include "gateway/plugin/request_context.h"

namespace sluice::plugins {

// Is it neither encoded nor a part, so that text can be searched in it or put around it?
inline bool IsPlainBody(const ResponseContext& response) {
  return response.Header("Content-Encoding").empty() && response.Header("Content-Range").empty();
}

// Takes out what only the upstream's bytes had, in any coding: digests, and that parts of them can
// be asked for.
inline void RemoveByteFields(ResponseContext& response) {
  for (const std::string_view name :
       {"Accept-Ranges", "Content-MD5", "Content-Digest", "Repr-Digest", "Digest"}) {
    response.RemoveHeader(name);
  }
}

// The same for a body that says something else: a cache, or a client that asks again, must not take
// it for the upstream's.
inline void RemoveContentFields(ResponseContext& response) {
  RemoveByteFields(response);
  response.RemoveHeader("ETag");
  response.RemoveHeader("Last-Modified");
}

}  // namespace sluice::plugins
