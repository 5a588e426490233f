#include "gateway/base/robust_mutex.h"

#include <cerrno>

namespace sluice {

Status RobustMutex::Init() {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  const int error = pthread_mutex_init(&mutex_, &attributes);
  pthread_mutexattr_destroy(&attributes);
  if (error != 0) return SystemError("a lock in shared memory", error);
  return {};
}

bool RobustMutex::Lock() {
  const int error = pthread_mutex_lock(&mutex_);
  if (error == 0) return false;
  SLUICE_CHECK(error == EOWNERDEAD);
  pthread_mutex_consistent(&mutex_);
  return true;
}

}  // namespace sluice
