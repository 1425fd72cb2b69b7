// Sessions that are there and do nothing. Each has passed a message and its echo, so that it is
// whole at both ends; then a line says that all are there, and they stay until standard input ends.

import Glibc

func holdSessions(to addresses: [Address], count: Int) {
  let start = now()
  var byte: UInt8 = 0x68
  let descriptors = (0..<count).map { index in
    let descriptor = connected(to: addresses[index % addresses.count])
    exchange(on: descriptor, &byte)
    return descriptor
  }
  var outcome = Outcome()
  outcome.operations = count
  outcome.seconds = Double(now() - start) / 1e9
  outcome.printLine()
  fflush(nil)
  var rest: UInt8 = 0
  while read(STDIN_FILENO, &rest, 1) > 0 {}
  // None may have been lost meanwhile, or less was held than is told.
  for descriptor in descriptors {
    exchange(on: descriptor, &byte)
    close(descriptor)
  }
}

/// Sends a byte and waits for its echo.
private func exchange(on descriptor: Int32, _ byte: inout UInt8) {
  require(send(descriptor, &byte, 1, Int32(MSG_NOSIGNAL)), "send")
  guard require(recv(descriptor, &byte, 1, 0), "recv") == 1 else { fail("a session was ended") }
}
