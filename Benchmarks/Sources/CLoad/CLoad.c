#define _GNU_SOURCE
#include "CLoad.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

_Static_assert(LOAD_READABLE == EPOLLIN, "epoll's bits");
_Static_assert(LOAD_WRITABLE == EPOLLOUT, "epoll's bits");
_Static_assert(LOAD_CLOSED == (EPOLLERR | EPOLLHUP), "epoll's bits");

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

int load_epoll_wait(int epoll, struct load_event *events, int capacity, int timeout_milliseconds) {
  struct epoll_event buffer[EVENTS_MAX];
  if (capacity > EVENTS_MAX) capacity = EVENTS_MAX;
  int count = epoll_wait(epoll, buffer, capacity, timeout_milliseconds);
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
