// A lock in memory that processes share, which outlives a process that dies with it.
#pragma once

#include <pthread.h>

#include "gateway/base/result.h"

namespace sluice {

// Lies in shared memory, zeroed before Init.
class RobustMutex {
 public:
  Status Init();  // once, by the process that has made the memory
  // True: the last holder died with it, and what it was changing has to be mended.
  [[nodiscard]] bool Lock();
  void Unlock() { pthread_mutex_unlock(&mutex_); }

 private:
  pthread_mutex_t mutex_;
};

}  // namespace sluice
