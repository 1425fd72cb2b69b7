// As many bytes as go through: `down` reads what a source sends, `up` sends to a sink, `both` does
// both at once on each connection, with a server that does the same.

import Glibc

/// Which way the bytes go, seen from the client.
enum Direction: String {
  case up, down, both

  var receives: Bool { self != .up }
  var sends: Bool { self != .down }
}

func runBulk(
  to addresses: [Address], direction: Direction, from origin: Supply.Origin, sessions: Int,
  seconds: Double
) -> Outcome {
  let receiveBytesMax = 1 << 20
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
    let ready = poller.wait(milliseconds: 5_000) { descriptor in
      if direction.receives {
        // MSG_TRUNC forgets what came without copying it: the load must not limit the rate.
        count(Transfer(recv(descriptor, nil, receiveBytesMax, Int32(MSG_TRUNC))))
      }
      if direction.sends {
        count(supply.send(to: descriptor))
      }
    }
    if ready == 0 { fail("nothing moved for 5 s") }
    time = now()
  }
  outcome.operations = sessions
  outcome.seconds = Double(time - start) / 1e9
  for descriptor in descriptors { close(descriptor) }
  return outcome
}
