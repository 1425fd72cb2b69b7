#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <linux/sockios.h>
#include <unistd.h>

_Static_assert(sizeof(struct clinux_event) == sizeof(struct epoll_event), "layout of an event");
_Static_assert(offsetof(struct clinux_event, token) == offsetof(struct epoll_event, data),
               "layout of an event");
_Static_assert(CLINUX_EPOLLIN == EPOLLIN && CLINUX_EPOLLPRI == EPOLLPRI && CLINUX_EPOLLOUT == EPOLLOUT &&
                 CLINUX_EPOLLERR == EPOLLERR && CLINUX_EPOLLHUP == EPOLLHUP &&
                 CLINUX_EPOLLRDHUP == EPOLLRDHUP && CLINUX_EPOLLET == EPOLLET &&
                 CLINUX_EPOLLEXCLUSIVE == EPOLLEXCLUSIVE,
               "constants of epoll");

const int clinux_so_bind_address_no_port = IP_BIND_ADDRESS_NO_PORT;
const int clinux_tcp_user_timeout = TCP_USER_TIMEOUT;
const int clinux_tcp_notsent_lowat = TCP_NOTSENT_LOWAT;
const int clinux_tcp_keepidle = TCP_KEEPIDLE;
const int clinux_tcp_keepintvl = TCP_KEEPINTVL;
const int clinux_tcp_keepcnt = TCP_KEEPCNT;

static int checked(int result) { return result == -1 ? -errno : result; }

// The calls of the hot path go past the C library's wrappers: those enter and leave a state for
// pthread_cancel(3) around each call, which nothing here uses and every message would pay for.
static long moved(long result) { return result == -1 ? -errno : result; }

int clinux_epoll_create(void) { return checked(epoll_create1(EPOLL_CLOEXEC)); }

int clinux_epoll_add(int epoll, int fd, uint32_t events, uint64_t token) {
  struct epoll_event event = {.events = events, .data = {.u64 = token}};
  return checked(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

int clinux_epoll_remove(int epoll, int fd) {
  return checked(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL));
}

int clinux_epoll_wait(int epoll, struct clinux_event *events, int count, int timeout_ms) {
  return (int)moved(syscall(SYS_epoll_pwait, epoll, events, count, timeout_ms, NULL, 8));
}

long clinux_receive(int fd, void *bytes, size_t count) {
  return moved(syscall(SYS_recvfrom, fd, bytes, count, 0, NULL, NULL));
}

long clinux_peek(int fd) {
  char byte;
  return moved(syscall(SYS_recvfrom, fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, NULL, NULL));
}

long clinux_send(int fd, const void *bytes, size_t count) {
  return moved(syscall(SYS_sendto, fd, bytes, count, MSG_NOSIGNAL, NULL, 0));
}

int clinux_eventfd(void) { return checked(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

int clinux_accept(int fd, struct sockaddr *address, uint32_t *length) {
  return checked(accept4(fd, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

int clinux_duplicate(int fd, int least) { return checked(fcntl(fd, F_DUPFD_CLOEXEC, least)); }
int clinux_duplicate_to(int fd, int number) { return checked(dup3(fd, number, O_CLOEXEC)); }

int clinux_pipe(int ends[2]) { return checked(pipe2(ends, O_NONBLOCK | O_CLOEXEC)); }
int clinux_pipe_set_bytes(int fd, int bytes) { return checked(fcntl(fd, F_SETPIPE_SZ, bytes)); }
int clinux_pipe_bytes(int fd) { return checked(fcntl(fd, F_GETPIPE_SZ)); }

long clinux_splice(int from, int to, size_t bytes) {
  unsigned flags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;
  return moved(syscall(SYS_splice, from, NULL, to, NULL, bytes, flags));
}

int clinux_receive_queue_bytes(int fd) {
  int bytes = 0;
  return ioctl(fd, SIOCINQ, &bytes) == -1 ? -errno : bytes;
}

int clinux_send_queue_bytes(int fd) {
  int bytes = 0;
  return ioctl(fd, SIOCOUTQ, &bytes) == -1 ? -errno : bytes;
}

int clinux_get_option(int fd, int level, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  return getsockopt(fd, level, name, &value, &length) == -1 ? -errno : value;
}

int clinux_set_option(int fd, int level, int name, int value) {
  return checked(setsockopt(fd, level, name, &value, sizeof value));
}

int clinux_cpu_count(int possible) {
  cpu_set_t *set = CPU_ALLOC(possible);
  if (set == NULL) return -ENOMEM;
  size_t size = CPU_ALLOC_SIZE(possible);
  int count = sched_getaffinity(0, size, set) == -1 ? -errno : CPU_COUNT_S(size, set);
  CPU_FREE(set);
  return count;
}

void clinux_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

static sigset_t set_of(const int *signals, int count) {
  sigset_t set;
  sigemptyset(&set);
  for (int index = 0; index < count; index++) sigaddset(&set, signals[index]);
  return set;
}

int clinux_signalfd(const int *signals, int count) {
  sigset_t set = set_of(signals, count);
  return checked(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

int clinux_block_signals(const int *signals, int count) {
  sigset_t set = set_of(signals, count);
  return -pthread_sigmask(SIG_BLOCK, &set, NULL);
}

int clinux_read_signal(int fd) {
  struct signalfd_siginfo info;
  ssize_t count = read(fd, &info, sizeof info);
  return count == -1 ? -errno : (int)info.ssi_signo;
}

int clinux_reset_signal(int number) { return signal(number, SIG_DFL) == SIG_ERR ? -errno : 0; }

int clinux_ignore_signal(int number) { return signal(number, SIG_IGN) == SIG_ERR ? -errno : 0; }

// The constant is younger than the C library of some systems.
enum { clinux_p_pidfd = 3 };

int clinux_reap(int process, int *status, int waits) {
  siginfo_t info = {.si_pid = 0};
  int result = waitid((idtype_t)clinux_p_pidfd, (id_t)process, &info, WEXITED | (waits ? 0 : WNOHANG));
  if (result == -1) return -errno;
  if (info.si_pid == 0) return 0;
  *status = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
  return 1;
}

int clinux_reap_group(int pid, int waits) {
  siginfo_t info = {.si_pid = 0};
  int result = waitid(P_PGID, (id_t)pid, &info, WEXITED | (waits ? 0 : WNOHANG));
  if (result == -1) return -errno;
  return info.si_pid == 0 ? 0 : 1;
}

int clinux_kill_group(int pid) {
  // The first may have left its own group.
  kill(pid, SIGKILL);
  return checked(kill(-pid, SIGKILL));
}
