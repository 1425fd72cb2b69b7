// As many bytes as go through: `down` reads what a source sends, `up` sends to a sink, `both` does
// both at once on each connection, with a server that does the same. What is sent one way counts when it has
// come out at the other end: what a socket has accepted may still be in any buffer on the way.

import Glibc

/// Which way the bytes go, seen from the client.
enum Direction: String {
  case up, down, both

  var receives: Bool { self != .up }
  var sends: Bool { self != .down }
}

private let receiveBytesMax = 1 << 20
private let patienceMilliseconds: Int32 = 5_000

func runBulk(
  to addresses: [Address], direction: Direction, from origin: Supply.Origin, sessions: Int,
  seconds: Double
) -> Outcome {
  let supply = Supply(from: origin)
  let poller = Poller()
  var outcome = Outcome()
  let descriptors = (0..<sessions).map { connected(to: addresses[$0 % addresses.count]) }
  for descriptor in descriptors {
    setNonBlocking(descriptor)
    poller.add(descriptor, (direction.receives ? readable : 0) | (direction.sends ? writable : 0))
  }

  func count(_ transfer: Transfer) {
    switch transfer {
    case .bytes(let count): outcome.bytes += count
    case .wouldBlock: break
    case .ended: fail("a session was ended")
    }
  }

  let start = now()
  let deadline = start + UInt64(seconds * 1e9)
  var time = start
  while time < deadline {
    let ready = poller.wait(milliseconds: patienceMilliseconds) { descriptor in
      if direction.receives {
        count(Transfer(receiveAndForget(from: descriptor)))
      }
      if direction.sends {
        count(supply.send(to: descriptor))
      }
    }
    if ready == 0 { fail("nothing moved for 5 s") }
    time = now()
  }
  if direction == .up {
    receiveToTheEnds(of: descriptors, with: poller)
    time = now()
  } else {
    for descriptor in descriptors { close(descriptor) }
  }
  outcome.operations = sessions
  outcome.seconds = Double(time - start) / 1e9
  return outcome
}

/// MSG_TRUNC forgets what came without copying it: the load must not limit the rate.
private func receiveAndForget(from descriptor: Int32) -> Int {
  recv(descriptor, nil, receiveBytesMax, Int32(MSG_TRUNC))
}

/// Ends what is sent, then reads until the other ends have ended, too, which they do when all has
/// come, and closes. A session that breaks instead has lost some.
private func receiveToTheEnds(of descriptors: [Int32], with poller: borrowing Poller) {
  var open = descriptors.count
  for descriptor in descriptors {
    require(shutdown(descriptor, Int32(SHUT_WR)), "shutdown")
    poller.change(descriptor, to: readable)
  }
  while open > 0 {
    let ready = poller.wait(milliseconds: patienceMilliseconds) { descriptor in
      let received = receiveAndForget(from: descriptor)
      if received == 0 {
        close(descriptor)
        open -= 1
      } else if received < 0 && errno != EAGAIN && errno != EINTR {
        fail("a session broke before all had arrived: \(String(cString: strerror(errno)))")
      }
    }
    if ready == 0 { fail("nothing moved for 5 s after the last byte was sent") }
  }
}
