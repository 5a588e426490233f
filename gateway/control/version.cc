// `sluice version`: what this binary is and which libraries it runs with.
#include <string>

#include "gateway/base/json_writer.h"
#include "gateway/control/commands.h"
#include "gateway/control/console.h"
#include "gateway/http/http2_codec.h"
#include "gateway/net/loop.h"

namespace sluice {

int RunVersion(const Options& options) {
  if (options.json) {
    std::string text;
    JsonWriter json(text);
    json.BeginObject().Member("name", "sluice").Member("version", SLUICE_VERSION);
    json.Member("compiler", __VERSION__).Member("event_loop", Loop::Library());
    json.Member("http2", Http2Codec::Library()).EndObject();
    PrintOut(text + "\n");
    return kExitOk;
  }
  std::string text = std::string("sluice ") + SLUICE_VERSION + "\n";
  if (options.verbose) {
    text += std::string("built by g++ ") + __VERSION__ + "\nevent loop: " + Loop::Library() + "\n";
    text += "HTTP/2: " + Http2Codec::Library() + "\n";
  }
  PrintOut(text);
  return kExitOk;
}

}  // namespace sluice
