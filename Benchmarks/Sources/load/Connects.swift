// Whole sessions: connect, send, read the echo, close; so many at once.

import Glibc

func runConnects(to addresses: [Address], bytes: Int, concurrent: Int, seconds: Double) -> Outcome {
  struct Session {
    var missing = 0
    var since: UInt64 = 0
  }
  let poller = Poller()
  let message = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 16)
  let buffer = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 16)
  message.initializeMemory(as: UInt8.self, repeating: 0x63, count: bytes)
  var outcome = Outcome()
  var sessions = Array(repeating: Session(), count: concurrent + 64)
  var started = 0
  var inFlight = 0

  func startSession() {
    let since = now()
    let descriptor = connected(to: addresses[started % addresses.count])
    started += 1
    inFlight += 1
    guard Int(descriptor) < sessions.count else { fail("descriptor \(descriptor)?") }
    sessions[Int(descriptor)] = Session(missing: bytes, since: since)
    let sent = require(send(descriptor, message, bytes, Int32(MSG_NOSIGNAL)), "send")
    if sent != bytes { fail("a message of \(bytes) B was sent in part") }
    poller.add(descriptor, readable)
  }

  let start = now()
  let deadline = start + UInt64(seconds * 1e9)
  for _ in 0..<concurrent { startSession() }
  while inFlight > 0 {
    let count = poller.wait(milliseconds: 5_000) { descriptor in
      let index = Int(descriptor)
      let received = recv(descriptor, buffer, sessions[index].missing, Int32(MSG_DONTWAIT))
      guard require(received, "recv") > 0 else { fail("a session was ended before its echo") }
      sessions[index].missing -= received
      guard sessions[index].missing == 0 else { return }
      close(descriptor)
      inFlight -= 1
      let time = now()
      outcome.latencies.record(time - sessions[index].since)
      outcome.operations += 1
      outcome.bytes += bytes
      if time < deadline { startSession() }
    }
    if count == 0 { fail("no echo for 5 s") }
  }
  outcome.seconds = Double(now() - start) / 1e9
  return outcome
}
