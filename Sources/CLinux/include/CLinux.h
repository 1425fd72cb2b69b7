// Linux calls and constants that Swift's Glibc module does not import, as thin wrappers without
// any logic, but for starting a program, which is in a file of its own. This header must not define _GNU_SOURCE: seen beside Glibc's own module, the types
// would differ (fd_set among them). The .c file defines it.
//
// Every function returns what the call returns, or -errno; none retries.

#ifndef CLINUX_H
#define CLINUX_H

#include <stddef.h>
#include <stdint.h>

/// One event of epoll_wait(2), with the kernel's layout (packed on x86-64).
struct clinux_event {
  uint32_t events;
  uint64_t token;
}
#if defined(__x86_64__)
__attribute__((packed))
#endif
;

#define CLINUX_EPOLLIN 0x001u
#define CLINUX_EPOLLPRI 0x002u
#define CLINUX_EPOLLOUT 0x004u
#define CLINUX_EPOLLERR 0x008u
#define CLINUX_EPOLLHUP 0x010u
#define CLINUX_EPOLLRDHUP 0x2000u
#define CLINUX_EPOLLEXCLUSIVE (1u << 28)
#define CLINUX_EPOLLET (1u << 31)

struct sockaddr;

int clinux_epoll_create(void);
int clinux_epoll_add(int epoll, int fd, uint32_t events, uint64_t token);
int clinux_epoll_remove(int epoll, int fd);
int clinux_epoll_wait(int epoll, struct clinux_event *events, int count, int timeout_ms);

int clinux_eventfd(void);
int clinux_accept(int fd, struct sockaddr *address, uint32_t *length);
/// A second descriptor of the same file, closed on exec: the lowest free one from `least` on.
int clinux_duplicate(int fd, int least);
/// The same, in place of the descriptor `number`.
int clinux_duplicate_to(int fd, int number);
int clinux_pipe(int ends[2]);
int clinux_pipe_set_bytes(int fd, int bytes);
int clinux_pipe_bytes(int fd);
long clinux_receive(int fd, void *bytes, size_t count);
/// Receives one byte and leaves it where it is.
long clinux_peek(int fd);
long clinux_send(int fd, const void *bytes, size_t count);
long clinux_splice(int from, int to, size_t bytes);
int clinux_receive_queue_bytes(int fd);
int clinux_send_queue_bytes(int fd);
int clinux_get_option(int fd, int level, int name);
int clinux_set_option(int fd, int level, int name, int value);
/// How many processors this thread's mask has; -EINVAL when the kernel has more than `possible`.
int clinux_cpu_count(int possible);
void clinux_name_thread(const char *name);
int clinux_signalfd(const int *signals, int count);
int clinux_read_signal(int fd);
int clinux_ignore_signal(int signal);
int clinux_reset_signal(int signal);
int clinux_block_signals(const int *signals, int count);

/// Starts a program in a process group of its own, with no signal blocked or ignored, nothing to read, `output`
/// for what it writes, and no other descriptor. Returns a descriptor of the process (pidfd_open(2)), which
/// becomes readable when it has ended, and its id in `pid`. Blocks until the program runs or cannot be run.
/// The kernel copies the table of descriptors up to `output` (see Spawn.c), so that should be a low number.
int clinux_spawn(const char *path, char *const arguments[], char *const environment[], int output,
                 int *pid);
/// Takes notice that a process has ended: 1, and how in `status`, as exit code, or as the signal's number
/// below zero; 0 when it has not.
int clinux_reap(int process, int *status, int waits);
/// Takes notice that one of a group's processes has ended: 1; 0 when those that are left have not; -ECHILD when
/// none is left that is this process's to reap.
int clinux_reap_group(int pid, int waits);
/// Ends all processes of a group.
int clinux_kill_group(int pid);

extern const int clinux_so_bind_address_no_port;
extern const int clinux_tcp_user_timeout;
extern const int clinux_tcp_notsent_lowat;
extern const int clinux_tcp_keepidle;
extern const int clinux_tcp_keepintvl;
extern const int clinux_tcp_keepcnt;

#endif
