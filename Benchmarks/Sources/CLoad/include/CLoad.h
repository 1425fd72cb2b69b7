// The Linux calls that Swift's Glibc does not import. Each returns -errno on failure.

#ifndef CLOAD_H
#define CLOAD_H

#include <stdint.h>

struct load_event {
  uint32_t events;
  int32_t descriptor;
};

enum { LOAD_READABLE = 1, LOAD_WRITABLE = 4, LOAD_CLOSED = 0x18 };

int load_epoll_create(void);
int load_epoll_add(int epoll, int descriptor, uint32_t events);
int load_epoll_modify(int epoll, int descriptor, uint32_t events);
// At most so many nanoseconds; -1: for ever.
int load_epoll_wait(int epoll, struct load_event *events, int capacity, int64_t nanoseconds);
int load_accept(int listener);
// Timeouts of this thread are kept to the microsecond instead of being gathered for up to 50.
int load_wake_on_time(void);
// An empty file that is nowhere but in memory.
int load_memory_file(void);
// A pipe that does not block, as large as this user may have it; returns how much goes in.
int load_pipe(int ends[2]);
// At most so many bytes, without blocking; 0 at the end of the stream.
int64_t load_splice(int from, int to, int64_t bytes);

#endif
