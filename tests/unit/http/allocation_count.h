// How often this test binary has called operator new so far.
#pragma once

#include <cstddef>

namespace sluice {

size_t AllocationCount();

}  // namespace sluice
