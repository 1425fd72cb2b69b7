// As many bytes as go through: `down` reads what a source sends, `up` sends to a sink, `both` does
// both at once on each connection, with a server that does the same.

import Glibc

/// Which way the bytes go, seen from the client.
enum Direction: String {
  case up, down, both

  var receives: Bool { self != .up }
  var sends: Bool { self != .down }
}

func runBulk(to addresses: [Address], direction: Direction, sessions: Int, seconds: Double)
  -> Outcome
{
  let chunkBytes = 262_144
  let buffer = UnsafeMutableRawPointer.allocate(byteCount: chunkBytes, alignment: 4096)
  buffer.initializeMemory(as: UInt8.self, repeating: 0, count: chunkBytes)
  let poller = Poller()
  var outcome = Outcome()
  let descriptors = (0..<sessions).map { connected(to: addresses[$0 % addresses.count]) }
  for descriptor in descriptors {
    setNonBlocking(descriptor)
    poller.add(descriptor, (direction.receives ? readable : 0) | (direction.sends ? writable : 0))
  }

  func count(_ moved: Int) {
    switch Transfer(moved) {
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
        count(recv(descriptor, nil, 4 * chunkBytes, Int32(MSG_TRUNC)))
      }
      if direction.sends {
        count(send(descriptor, buffer, chunkBytes, Int32(MSG_NOSIGNAL)))
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
