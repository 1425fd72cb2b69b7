// An echo server that takes its time: what comes is sent back so much later. One that is slow on
// purpose, without costing anything while it waits.

import CLoad
import Glibc

/// Sends back what comes after the delay. What is due first came first, so a queue is enough.
func serveDelayedEcho(at addresses: [Address], nanoseconds delay: UInt64) -> Never {
  struct Echo {
    let due: UInt64
    let descriptor: Int32
    let connection: Int
    let bytes: [UInt8]
  }
  let bufferBytes = 65_536
  let buffer = UnsafeMutableRawPointer.allocate(byteCount: bufferBytes, alignment: 4096)
  let poller = Poller()
  let listeners = addresses.map { listening(at: $0) }
  for listener in listeners { poller.add(listener, readable) }
  // Which connection a descriptor stands for now: an echo must not go to its successor.
  var connections: [Int32: Int] = [:]
  var accepted = 0
  var queue: [Echo] = []
  var first = 0
  requireCode(load_wake_on_time(), "prctl")

  func acceptAll(from listener: Int32) {
    while true {
      let descriptor = load_accept(listener)
      guard descriptor >= 0 else { return }
      setNoDelay(descriptor)
      accepted += 1
      connections[descriptor] = accepted
      poller.add(descriptor, readable)
    }
  }

  func receive(on descriptor: Int32) {
    switch Transfer(recv(descriptor, buffer, bufferBytes, 0)) {
    case .bytes(let count):
      let bytes = Array(UnsafeRawBufferPointer(start: buffer, count: count))
      let connection = connections[descriptor] ?? 0
      queue.append(
        Echo(due: now() + delay, descriptor: descriptor, connection: connection, bytes: bytes))
    case .wouldBlock: break
    case .ended:
      connections[descriptor] = nil
      close(descriptor)
    }
  }

  while true {
    let time = now()
    while first < queue.count, queue[first].due <= time {
      let echo = queue[first]
      first += 1
      guard connections[echo.descriptor] == echo.connection else { continue }
      // Messages are small here; one that does not fit at once is a mistake in the use of this.
      switch Transfer(send(echo.descriptor, echo.bytes, echo.bytes.count, Int32(MSG_NOSIGNAL))) {
      case .bytes(echo.bytes.count), .ended: break
      default: fail("a delayed echo did not fit into its socket")
      }
    }
    if first > 1024 {
      queue.removeFirst(first)
      first = 0
    }
    let patience = first < queue.count ? queue[first].due - min(now(), queue[first].due) : nil
    poller.wait(nanoseconds: patience) { descriptor in
      if listeners.contains(descriptor) {
        acceptAll(from: descriptor)
      } else {
        receive(on: descriptor)
      }
    }
  }
}
