// SPDX-License-Identifier: Apache-2.0
// A process may be started with its standard streams closed. The next thing that it opens then gets
// their numbers, and log lines would be written to a listening socket or into an eventfd.

import Glibc

/// Opens /dev/null in place of standard input, output and error where they are closed. Call before
/// anything else is opened.
public func openMissingStandardStreams() {
  for number in STDIN_FILENO...STDERR_FILENO where fcntl(number, F_GETFD) == -1 {
    // The lowest free number is this one, since those below it are open.
    _ = open("/dev/null", O_RDWR)
  }
}
