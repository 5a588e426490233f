// The process behind `sluice demo-origin`: a small HTTP/1.1 server to point routes at, for first
// steps and for tests. It answers every request by an echo as JSON, and some paths specially; the
// end of the path counts, so that they work behind any prefix:
//   …/delay/N    the echo after N milliseconds (at most 60,000)
//   …/status/N   that status, 200 to 599
//   …/bytes/N    N bytes of text (at most 1 GiB)
//   …/stream     ten lines in chunks, one each 100 ms
#pragma once

#include <string>

namespace sluice {

// Serves `listen_address` ("127.0.0.1:1980", "unix:/path"; port 0 picks a free one and prints it)
// until SIGTERM or SIGINT. Returns the exit code: 0, or 1 when it cannot listen.
int RunDemoOrigin(const std::string& listen_address);

}  // namespace sluice
