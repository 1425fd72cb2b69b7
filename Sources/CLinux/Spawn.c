// Starting a program without copying the table of descriptors.
//
// fork(2), vfork(2) and posix_spawn(3) copy the table of descriptors into the child, under the lock of the
// table. While that lasts, no thread of the process can open, accept or close. With 19,000 descriptors a start
// took 2.4 ms that way and 0.1 ms this way; with half a million it would stop every worker for many
// milliseconds, at each check by a script.
//
// So the child shares the table at first (CLONE_FILES). Its first call is close_range(2) with
// CLOSE_RANGE_UNSHARE, which gives it a table of its own; the kernel copies only what lies below the range to
// be closed. All that the child needs is its output, so the range begins right behind that. Before that call
// nothing may be opened or closed: the parent would see it.
//
// As in posix_spawn(3) the child also shares the memory until it runs the program, on a stack of its own, and
// the thread that started it is suspended meanwhile (CLONE_VM, CLONE_VFORK). Signals are blocked, so that no
// handler of the parent runs in it. It makes system calls and nothing else, and is not instrumented by
// sanitizers, whose state it would share.
//
// Where the kernel has no such call (before Linux 5.9), or a seccomp filter refuses it, posix_spawn(3) does it.

#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// Younger than the C library of some systems.
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
enum { close_range_unshare = 1 << 1 };

// The C library's name for clone(2) that sanitizers do not replace: theirs takes it for fork(2).
extern int __clone(int (*function)(void *), void *stack, int flags, void *argument, ...);

#if defined(__has_attribute)
#if __has_attribute(disable_sanitizer_instrumentation)
#define UNINSTRUMENTED __attribute__((disable_sanitizer_instrumentation))
#endif
#endif
#ifndef UNINSTRUMENTED
#define UNINSTRUMENTED
#endif

enum { stack_bytes = 64 << 10, signals_max = 64, signal_set_bytes = 8 };

// What the parent tells the child, and the child the parent.
struct start {
  const char *path;
  char *const *arguments;
  char *const *environment;
  int output;
  // Why the child has no table of its own.
  int refusal;
  // Why the program does not run.
  int error;
};

// The child, with a table of its own. Returns only when the program cannot be run.
UNINSTRUMENTED static void become_program(struct start *start) {
  // The kernel's struct sigaction, all zero: the default action (SIG_DFL). SIGKILL and SIGSTOP are refused.
  const long action[8] = {0};
  for (int number = 1; number <= signals_max; number++)
    syscall(SYS_rt_sigaction, number, action, NULL, signal_set_bytes);
  if (syscall(SYS_setpgid, 0, 0) == -1) return;
  if (syscall(SYS_dup3, start->output, 1, 0) == -1) return;
  if (syscall(SYS_dup3, start->output, 2, 0) == -1) return;
  int input = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY, 0);
  if (input == -1) return;
  if (input != 0 && syscall(SYS_dup3, input, 0, 0) == -1) return;
  if (syscall(SYS_close_range, 3, ~0U, 0) == -1) return;
  const uint64_t none = 0;
  if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, signal_set_bytes) == -1) return;
  syscall(SYS_execve, start->path, start->arguments, start->environment);
}

UNINSTRUMENTED static int child(void *argument) {
  struct start *start = argument;
  if (syscall(SYS_close_range, start->output + 1, ~0U, close_range_unshare) == -1) {
    start->refusal = errno;
  } else {
    become_program(start);
    start->error = errno;
  }
  // Not _exit(3), which sanitizers replace.
  syscall(SYS_exit_group, 127);
  return 127;
}

static void reap(int pid) {
  while (waitpid(pid, NULL, 0) == -1 && errno == EINTR) {}
}

// Returns 0 and the id, or -errno; `is_refused` says that this way of starting is not possible here.
static int start_sharing(struct start *start, int *pid, int *is_refused) {
  *is_refused = 0;
  void *stack = mmap(NULL, stack_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) return -errno;
  const uint64_t all = ~(uint64_t)0;
  uint64_t before = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, signal_set_bytes);
  int flags = CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD;
  int result = __clone(child, (char *)stack + stack_bytes, flags, start);
  int error = result == -1 ? errno : 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, signal_set_bytes);
  munmap(stack, stack_bytes);
  if (result != -1) {
    error = start->refusal != 0 ? start->refusal : start->error;
    if (error != 0) reap(result);
  }
  if (result == -1 || start->refusal != 0)
    *is_refused = error == ENOSYS || error == EPERM || error == EINVAL;
  *pid = result;
  return -error;
}

static int spawn_actions(posix_spawn_file_actions_t *actions, int output) {
  int error = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
  if (error == 0) error = posix_spawn_file_actions_adddup2(actions, output, 1);
  if (error == 0) error = posix_spawn_file_actions_adddup2(actions, output, 2);
  if (error == 0) error = posix_spawn_file_actions_addclosefrom_np(actions, 3);
  return error;
}

static int spawn_attributes(posix_spawnattr_t *attributes) {
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  int error = posix_spawnattr_setflags(
    attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  if (error == 0) error = posix_spawnattr_setpgroup(attributes, 0);
  if (error == 0) error = posix_spawnattr_setsigmask(attributes, &none);
  if (error == 0) error = posix_spawnattr_setsigdefault(attributes, &all);
  return error;
}

// Returns 0 and the id, or -errno.
static int start_copying(const struct start *start, int *pid) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  int error = posix_spawn_file_actions_init(&actions);
  if (error != 0) return -error;
  error = posix_spawnattr_init(&attributes);
  if (error == 0) {
    pid_t started = 0;
    error = spawn_actions(&actions, start->output);
    if (error == 0) error = spawn_attributes(&attributes);
    if (error == 0)
      error = posix_spawn(&started, start->path, &actions, &attributes, start->arguments,
                          start->environment);
    *pid = started;
    posix_spawnattr_destroy(&attributes);
  }
  posix_spawn_file_actions_destroy(&actions);
  return -error;
}

int clinux_spawn(const char *path, char *const arguments[], char *const environment[], int output,
                 int *pid) {
  // Set once the kernel has refused the other way.
  static atomic_int copies;
  struct start start = {
    .path = path, .arguments = arguments, .environment = environment, .output = output};
  // What is moved to the standard descriptors must not be one of them.
  int is_refused = output < 3 || atomic_load_explicit(&copies, memory_order_relaxed);
  int result = 0;
  if (!is_refused) {
    result = start_sharing(&start, pid, &is_refused);
    if (is_refused) atomic_store_explicit(&copies, 1, memory_order_relaxed);
  }
  if (is_refused) result = start_copying(&start, pid);
  if (result != 0) return result;
  // Nobody else reaps it, so the id is its own until it is reaped here.
  int process = (int)syscall(SYS_pidfd_open, *pid, 0);
  if (process != -1) return process;
  int error = errno;
  kill(-*pid, SIGKILL);
  reap(*pid);
  return -error;
}
