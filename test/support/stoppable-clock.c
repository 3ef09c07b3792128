// Preloaded into the kernel of a guest (uml-host.ts): a clock that does not count the time for which the
// guest stood still, as that of a virtual machine whose hypervisor paused it. The file STOPPED_NS holds
// that time in nanoseconds, as a native 64-bit integer.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile long long *stopped;

__attribute__((constructor)) static void open_clock(void) {
  const char *path = getenv("STOPPED_NS");
  if (path == NULL) return;
  int file = open(path, O_RDONLY);
  void *map = mmap(NULL, sizeof *stopped, PROT_READ, MAP_SHARED, file, 0);
  if (file >= 0 && map != MAP_FAILED) stopped = map;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = syscall(SYS_clock_gettime, clock, now);
  if (result != 0 || stopped == NULL) return result;
  if (clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME) return result;
  long long ns = now->tv_sec * 1000000000LL + now->tv_nsec - *stopped;
  now->tv_sec = ns / 1000000000LL;
  now->tv_nsec = ns % 1000000000LL;
  return result;
}
