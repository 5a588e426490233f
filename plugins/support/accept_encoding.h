// Accept-Encoding of a request (RFC 9110 12.5.3).
#pragma once

#include "gateway/http/headers.h"

namespace sluice::plugins {

// Does the client take gzip, and not like the response better as it is? Without the field: no, as
// many that leave it out cannot. A weight that is malformed counts as 0.
bool PrefersGzip(const HeaderList& fields);

}  // namespace sluice::plugins
