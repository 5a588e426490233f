#include "gateway/observe/plugin_cost.h"

#include "gateway/base/time.h"

namespace sluice {
namespace {

struct Moment {
  uint64_t ticks = ReadTicks();
  MonoTime time = MonoNow();
};

const Moment start;

}  // namespace

double TicksPerNanosecond() {
  // The longer the process runs the finer; a command that has just begun waits a little.
  Moment now;
  while (now.time - start.time < milliseconds(1)) now = Moment();
  return static_cast<double>(now.ticks - start.ticks) /
         static_cast<double>((now.time - start.time).count());
}

}  // namespace sluice
