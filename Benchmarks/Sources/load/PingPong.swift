// Messages of one size on long-lived connections: each sends the next when the echo of the last is
// complete.

import Glibc

func runPingPong(to addresses: [Address], bytes: Int, connections: Int, seconds: Double) -> Outcome
{
  struct Session {
    var missing = 0
    var since: UInt64 = 0
  }
  let poller = Poller()
  let message = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 16)
  let buffer = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 16)
  message.initializeMemory(as: UInt8.self, repeating: 0x70, count: bytes)
  var outcome = Outcome()
  var sessions: [Session] = []

  func sendMessage(on descriptor: Int32) {
    sessions[Int(descriptor)] = Session(missing: bytes, since: now())
    let sent = require(send(descriptor, message, bytes, Int32(MSG_NOSIGNAL)), "send")
    if sent != bytes { fail("a message of \(bytes) B was sent in part") }
  }

  let descriptors = (0..<connections).map { connected(to: addresses[$0 % addresses.count]) }
  sessions = Array(repeating: Session(), count: Int(descriptors.max() ?? 0) + 1)
  for descriptor in descriptors {
    setNoDelay(descriptor)
    poller.add(descriptor, readable)
  }
  let start = now()
  let deadline = start + UInt64(seconds * 1e9)
  for descriptor in descriptors { sendMessage(on: descriptor) }
  var inFlight = connections
  while inFlight > 0 {
    let count = poller.wait(milliseconds: 5_000) { descriptor in
      let index = Int(descriptor)
      let received = recv(descriptor, buffer, sessions[index].missing, Int32(MSG_DONTWAIT))
      guard require(received, "recv") > 0 else { fail("a session was ended") }
      sessions[index].missing -= received
      guard sessions[index].missing == 0 else { return }
      let time = now()
      outcome.latencies.record(time - sessions[index].since)
      outcome.operations += 1
      outcome.bytes += bytes
      if time < deadline { sendMessage(on: descriptor) } else { inFlight -= 1 }
    }
    if count == 0 { fail("no echo for 5 s") }
  }
  outcome.seconds = Double(now() - start) / 1e9
  for descriptor in descriptors { close(descriptor) }
  return outcome
}
