#define _GNU_SOURCE
#include "CLoad.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

_Static_assert(LOAD_READABLE == EPOLLIN, "epoll's bits");
_Static_assert(LOAD_WRITABLE == EPOLLOUT, "epoll's bits");
_Static_assert(LOAD_CLOSED == (EPOLLERR | EPOLLHUP), "epoll's bits");

_Static_assert(EPOLLET == 1u << 31, "epoll's bits");

enum { EVENTS_MAX = 256 };

static int result(int value) { return value < 0 ? -errno : value; }

int load_epoll_create(void) { return result(epoll_create1(EPOLL_CLOEXEC)); }

static int control(int epoll, int operation, int descriptor, uint32_t events) {
  struct epoll_event event = {.events = events, .data = {.fd = descriptor}};
  return result(epoll_ctl(epoll, operation, descriptor, &event));
}

int load_epoll_add(int epoll, int descriptor, uint32_t events) {
  return control(epoll, EPOLL_CTL_ADD, descriptor, events);
}

int load_epoll_modify(int epoll, int descriptor, uint32_t events) {
  return control(epoll, EPOLL_CTL_MOD, descriptor, events);
}

int load_epoll_wait(int epoll, struct load_event *events, int capacity, int64_t nanoseconds) {
  struct epoll_event buffer[EVENTS_MAX];
  if (capacity > EVENTS_MAX) capacity = EVENTS_MAX;
  struct timespec timeout = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
  int count = epoll_pwait2(epoll, buffer, capacity, nanoseconds < 0 ? NULL : &timeout, NULL);
  if (count < 0) return errno == EINTR ? 0 : -errno;
  for (int index = 0; index < count; index++) {
    events[index].events = buffer[index].events;
    events[index].descriptor = buffer[index].data.fd;
  }
  return count;
}

int load_accept(int listener) {
  return result(accept4(listener, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

int load_wake_on_time(void) { return result(prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL)); }

int load_memory_file(void) { return result(memfd_create("load", MFD_CLOEXEC)); }

int load_pipe(int ends[2]) {
  if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0) return -errno;
  int size = fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
  return result(size > 0 ? size : fcntl(ends[1], F_GETPIPE_SZ));
}

int64_t load_splice(int from, int to, int64_t bytes) {
  ssize_t moved = splice(from, NULL, to, NULL, (size_t)bytes, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  return moved < 0 ? -errno : moved;
}
