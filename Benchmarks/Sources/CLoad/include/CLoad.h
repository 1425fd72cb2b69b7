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
int load_epoll_wait(int epoll, struct load_event *events, int capacity, int timeout_milliseconds);
int load_accept(int listener);

#endif
