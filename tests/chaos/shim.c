/*
 * Faults of the disk and of the clock inside one process: a library that is preloaded into it.
 *
 * CHAOS_CONTROL names a file of 64-bit words that the test and this library share in memory. The
 * test writes what is to happen, the library counts what did. Only files below the directory
 * CHAOS_DATA have a bad disk, so that sockets, pipes and the program itself are never touched.
 * Without CHAOS_CONTROL every call passes through unchanged.
 *
 * With CHAOS_SHADOW, each successful sync of a file below CHAOS_DATA leaves a copy of what it made
 * durable in that directory, named by the file's inode and birth. After a power loss, a file holds
 * that copy and nothing more: the page cache, which survives a kill -9, must not.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* The words; shim.ts knows them by the same places. */
enum {
  /* What is to happen. */
  SYNC_DELAY_MS = 0,       /* every sync first waits so long */
  SYNCS_TO_FAIL = 1,       /* so many of the next syncs end with EIO */
  WRITES_TO_FAIL = 2,      /* so many of the next writes end with EIO */
  WRITES_TO_SHORTEN = 3,   /* so many of the next writes take only half of their bytes */
  WALL_OFFSET_MS = 4,      /* added to the time of day */
  MONOTONIC_OFFSET_MS = 5, /* added to the monotonic clock; never made less */
  READS_TO_SPARE = 6,      /* so many of the next reads go well before one fails */
  READS_TO_FAIL = 7,       /* so many of the next reads end with EIO */
  /* What happened. */
  SYNCS_DELAYED = 8,
  SYNCS_FAILED = 9,
  WRITES_FAILED = 10,
  WRITES_SHORTENED = 11,
  CLOCK_READINGS_MOVED = 12,
  WRITES_WITHOUT_SPACE = 13, /* ENOSPC, said by the system itself */
  READS_SPARED = 14,
  READS_FAILED = 15,
  WORDS = 16
};

static _Atomic int64_t *words;
static char data[PATH_MAX];
static const char *shadow;
/* One sync at a time, so that an older copy never takes the place of a newer one. */
static pthread_mutex_t syncing = PTHREAD_MUTEX_INITIALIZER;
static size_t data_length;

static ssize_t (*real_read)(int, void *, size_t);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void prepare(void) {
  real_read = dlsym(RTLD_NEXT, "read");
  real_write = dlsym(RTLD_NEXT, "write");
  real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
  real_fsync = dlsym(RTLD_NEXT, "fsync");
  real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
  const char *control = getenv("CHAOS_CONTROL");
  const char *directory = getenv("CHAOS_DATA");
  if (control == NULL || directory == NULL || realpath(directory, data) == NULL) return;
  shadow = getenv("CHAOS_SHADOW");
  data_length = strlen(data);
  int file = open(control, O_RDWR | O_CLOEXEC);
  if (file < 0) return;
  void *shared = mmap(NULL, WORDS * sizeof *words, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (shared != MAP_FAILED) words = shared;
}

/* Whether the file lies in the directory whose disk is bad. */
static int is_data(int file) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path);
  return length > (ssize_t)data_length && memcmp(path, data, data_length) == 0 &&
         path[data_length] == '/';
}

/* Takes one off the word and counts it in the other; 0 where there was none to take. */
static int take(int wanted, int counted) {
  int64_t left = atomic_load(&words[wanted]);
  while (left > 0) {
    if (!atomic_compare_exchange_weak(&words[wanted], &left, left - 1)) continue;
    atomic_fetch_add(&words[counted], 1);
    return 1;
  }
  return 0;
}

static int is_set(int word) { return words != NULL && atomic_load(&words[word]) != 0; }

ssize_t read(int file, void *into, size_t bytes) {
  if (is_set(READS_TO_FAIL) && is_data(file) && !take(READS_TO_SPARE, READS_SPARED) &&
      take(READS_TO_FAIL, READS_FAILED)) {
    errno = EIO;
    return -1;
  }
  return real_read != NULL ? real_read(file, into, bytes) : syscall(SYS_read, file, into, bytes);
}

/* How many of the bytes may be written; -1: none, and errno says why. */
static ssize_t allowed(int file, size_t bytes) {
  int bad = is_set(WRITES_TO_FAIL) || is_set(WRITES_TO_SHORTEN);
  if (!bad || !is_data(file)) return bytes;
  if (take(WRITES_TO_FAIL, WRITES_FAILED)) {
    errno = EIO;
    return -1;
  }
  return bytes > 1 && take(WRITES_TO_SHORTEN, WRITES_SHORTENED) ? bytes / 2 : bytes;
}

static ssize_t noticed(int file, ssize_t written) {
  if (written >= 0 || errno != ENOSPC || words == NULL) return written;
  if (is_data(file)) atomic_fetch_add(&words[WRITES_WITHOUT_SPACE], 1);
  errno = ENOSPC;
  return written;
}

ssize_t write(int file, const void *from, size_t bytes) {
  if (real_write == NULL) return syscall(SYS_write, file, from, bytes);
  ssize_t length = allowed(file, bytes);
  return length < 0 ? -1 : noticed(file, real_write(file, from, length));
}

ssize_t pwrite64(int file, const void *from, size_t bytes, off_t at) {
  if (real_pwrite == NULL) return syscall(SYS_pwrite64, file, from, bytes, at);
  ssize_t length = allowed(file, bytes);
  return length < 0 ? -1 : noticed(file, real_pwrite(file, from, length, at));
}

/* 0: the sync may go on; -1: it fails, and errno says why. */
static int before_sync(int file) {
  if (!is_set(SYNC_DELAY_MS) && !is_set(SYNCS_TO_FAIL)) return 0;
  if (!is_data(file)) return 0;
  int64_t delay = atomic_load(&words[SYNC_DELAY_MS]);
  if (delay > 0) {
    struct timespec wait = {delay / 1000, delay % 1000 * 1000000};
    atomic_fetch_add(&words[SYNCS_DELAYED], 1);
    nanosleep(&wait, NULL);
  }
  if (!take(SYNCS_TO_FAIL, SYNCS_FAILED)) return 0;
  errno = EIO;
  return -1;
}

/* Copies what a file holds now into `path`; 0 where that worked. */
static int copy_to(int file, const char *path) {
  char own[64], part[65536];
  snprintf(own, sizeof own, "/proc/self/fd/%d", file);
  int from = open(own, O_RDONLY | O_CLOEXEC);
  int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  ssize_t length = -1;
  while (from >= 0 && to >= 0 && (length = syscall(SYS_read, from, part, sizeof part)) > 0) {
    if (syscall(SYS_write, to, part, length) != length) {
      length = -1;
      break;
    }
  }
  if (from >= 0) close(from);
  if (to >= 0) close(to);
  return length == 0 ? 0 : -1;
}

/* Syncs a file and keeps what that made durable: what was in it before the sync began. */
static int shadowed(int file, int (*sync)(int)) {
  char copy[PATH_MAX], kept[PATH_MAX];
  struct statx seen;
  if (shadow == NULL || !is_data(file) ||
      statx(file, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME | STATX_TYPE, &seen) != 0 ||
      !S_ISREG(seen.stx_mode)) {
    return sync(file);
  }
  long long born = seen.stx_btime.tv_sec * 1000LL + seen.stx_btime.tv_nsec / 1000000;
  snprintf(kept, sizeof kept, "%s/%llu-%lld", shadow, (unsigned long long)seen.stx_ino, born);
  snprintf(copy, sizeof copy, "%s/copy", shadow);
  pthread_mutex_lock(&syncing);
  int copied = copy_to(file, copy);
  int result = sync(file);
  if (result == 0 && copied == 0) rename(copy, kept);
  pthread_mutex_unlock(&syncing);
  return result;
}

static int bare_fsync(int file) {
  return real_fsync != NULL ? real_fsync(file) : (int)syscall(SYS_fsync, file);
}

static int bare_fdatasync(int file) {
  return real_fdatasync != NULL ? real_fdatasync(file) : (int)syscall(SYS_fdatasync, file);
}

int fsync(int file) { return before_sync(file) < 0 ? -1 : shadowed(file, bare_fsync); }

int fdatasync(int file) { return before_sync(file) < 0 ? -1 : shadowed(file, bare_fdatasync); }

/* The word by which a clock is off, or -1 for a clock that is left alone. */
static int offset_of(clockid_t clock) {
  switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
      return WALL_OFFSET_MS;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_BOOTTIME:
      return MONOTONIC_OFFSET_MS;
    default:
      return -1;
  }
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  int result = real_clock_gettime != NULL ? real_clock_gettime(clock, time)
                                          : (int)syscall(SYS_clock_gettime, clock, time);
  int word = offset_of(clock);
  if (result != 0 || word < 0 || !is_set(word)) return result;
  int64_t offset = atomic_load(&words[word]);
  int64_t nanoseconds = time->tv_nsec + offset % 1000 * 1000000;
  time->tv_sec += offset / 1000;
  if (nanoseconds < 0) time->tv_sec -= 1;
  if (nanoseconds >= 1000000000) time->tv_sec += 1;
  time->tv_nsec = (nanoseconds + 1000000000) % 1000000000;
  atomic_fetch_add(&words[CLOCK_READINGS_MOVED], 1);
  return 0;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  struct timespec now;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
  time->tv_sec = now.tv_sec;
  time->tv_usec = now.tv_nsec / 1000;
  return 0;
}
