// Messages at moments that are drawn beforehand, whatever the answers do (an open loop). A client
// that waits for an answer before it sends the next message sends less while the server is slow, and
// so leaves out the very latencies it is there to find ("coordinated omission"). Here each latency
// counts from the moment at which its message was due, also when it could only leave later.

import CLoad
import Glibc

/// Arrivals of a Poisson process: many clients that know nothing of each other look like this.
/// The same seed gives the same moments, so that all who are compared meet the same.
struct Arrivals {
  private var state: UInt64
  private let meanNanoseconds: Double
  private(set) var next: UInt64

  init(from start: UInt64, perSecond rate: Double, seed: UInt64) {
    state = seed
    meanNanoseconds = 1e9 / rate
    next = start
    advance()
  }

  /// Draws the next moment; never the same one again.
  mutating func advance() {
    // SplitMix64 (Steele, Lea and Flood 2014); its upper 53 bits make a number in (0, 1].
    state &+= 0x9E37_79B9_7F4A_7C15
    var bits = state
    bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
    bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
    bits ^= bits >> 31
    let uniform = (Double(bits >> 11) + 1) / 9_007_199_254_740_992
    next += max(1, UInt64(-log(uniform) * meanNanoseconds))
  }
}

func runPaced(
  to addresses: [Address], bytes: Int, connections: Int, perSecond rate: Double, seconds: Double
) -> Outcome {
  /// The messages on their way on one connection: when each was due, oldest first.
  struct Session {
    var due: [UInt64] = []
    var first = 0
    var received = 0

    var isWaiting: Bool { first < due.count }

    mutating func takeFirst() -> UInt64 {
      let moment = due[first]
      first += 1
      if first == due.count {
        due.removeAll(keepingCapacity: true)
        first = 0
      }
      return moment
    }
  }
  let poller = Poller()
  let bufferBytes = max(65_536, bytes)
  let message = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 16)
  let buffer = UnsafeMutableRawPointer.allocate(byteCount: bufferBytes, alignment: 16)
  message.initializeMemory(as: UInt8.self, repeating: 0x71, count: bytes)
  requireCode(load_wake_on_time(), "prctl")
  var outcome = Outcome()
  let descriptors = (0..<connections).map { connected(to: addresses[$0 % addresses.count]) }
  var sessions = Array(repeating: Session(), count: Int(descriptors.max() ?? 0) + 1)
  for descriptor in descriptors {
    setNoDelay(descriptor)
    poller.add(descriptor, readable)
  }

  func receive(on descriptor: Int32) {
    let index = Int(descriptor)
    let received = require(recv(descriptor, buffer, bufferBytes, Int32(MSG_DONTWAIT)), "recv")
    guard received > 0 else { fail("a session was ended") }
    let time = now()
    sessions[index].received += received
    while sessions[index].received >= bytes {
      guard sessions[index].isWaiting else { fail("more came back than was sent") }
      sessions[index].received -= bytes
      outcome.latencies.record(time - sessions[index].takeFirst())
      outcome.operations += 1
      outcome.bytes += bytes
      inFlight -= 1
    }
  }

  var inFlight = 0
  var sent = 0
  let start = now()
  let deadline = start + UInt64(seconds * 1e9)
  var arrivals = Arrivals(from: start, perSecond: rate, seed: 0x51_1CE)
  while arrivals.next < deadline || inFlight > 0 {
    var time = now()
    while arrivals.next <= time, arrivals.next < deadline {
      let descriptor = descriptors[sent % connections]
      sessions[Int(descriptor)].due.append(arrivals.next)
      if require(send(descriptor, message, bytes, Int32(MSG_NOSIGNAL)), "send") != bytes {
        fail("a message of \(bytes) B was sent in part")
      }
      sent += 1
      inFlight += 1
      arrivals.advance()
      time = now()
    }
    let isSending = arrivals.next < deadline
    let patience = isSending ? arrivals.next - min(time, arrivals.next) : 5_000_000_000
    let ready = poller.wait(nanoseconds: patience) { receive(on: $0) }
    if ready == 0 && !isSending { fail("no echo for 5 s") }
  }
  outcome.seconds = Double(now() - start) / 1e9
  for descriptor in descriptors { close(descriptor) }
  return outcome
}
