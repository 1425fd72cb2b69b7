// SPDX-License-Identifier: Apache-2.0
// Connects and closes, so many times a second, to 127.1.0.1, 127.1.0.2, and so on in turn: the least
// that a check which only connects can cost. It wakes up for each connection, as whoever checks
// endpoints at moments of their own has to. Prints the CPU seconds that it took, and how many
// connects failed.
//
// Usage: connect_close PORT ADDRESSES PER_SECOND SECONDS

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const long billion = 1000000000L;

int main(int count, char **words) {
  if (count != 5) return 64;
  int port = atoi(words[1]), addresses = atoi(words[2]), rate = atoi(words[3]);
  long connections = (long)rate * atoi(words[4]), failures = 0;
  struct timespec next;
  clock_gettime(CLOCK_MONOTONIC, &next);
  for (long number = 0; number < connections; number++) {
    next.tv_nsec += billion / rate;
    if (next.tv_nsec >= billion) {
      next.tv_nsec -= billion;
      next.tv_sec++;
    }
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    unsigned index = (unsigned)(number % addresses);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    to.sin_addr.s_addr = htonl(0x7F010000u + (index / 250 << 8) + index % 250 + 1);
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(descriptor, (struct sockaddr *)&to, sizeof to) != 0) failures++;
    close(descriptor);
  }
  struct timespec spent;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
  printf("%.6f %ld\n", spent.tv_sec + spent.tv_nsec / 1e9, failures);
  return 0;
}
