#include "gateway/base/result.h"

#include <cstdio>

namespace sluice {

void CheckFailed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "sluice: broken invariant at %s:%d: %s\n", file, line, condition);
  std::abort();
}

}  // namespace sluice
