// SPDX-License-Identifier: Apache-2.0
// Host names to addresses with getaddrinfo(3), which blocks for as long as it likes and cannot be
// cancelled. So look-ups run on a few threads of their own, all at once up to a bound, and whoever
// waits does so with a deadline and leaves a look-up behind that does not come back.

import Addressing
import Glibc
import Plan
import Reactor

/// What a look-up came to.
enum Resolution: Hashable, Sendable {
  /// At least one address, in the order of RFC 6724, none twice.
  case addresses([IPAddress])
  /// Why there is none, in words.
  case failed(String)
}

/// What may end a wait before its time.
struct Interruption {
  /// Nothing does.
  static var none: Interruption { Interruption(descriptor: -1) { false } }

  /// Becomes readable when `hasCome` is worth asking.
  let descriptor: CInt
  /// Whether the wait is to end. Must take away what made the descriptor readable.
  let hasCome: () -> Bool
}

/// Looks names up on threads of its own.
enum NameResolver {
  /// How many look-ups run at once.
  private static let lanesMax = 8

  /// Looks up one name; may block for as long as it likes.
  typealias LookUp = @Sendable (_ name: String) -> Resolution

  private final class Work: Sendable {
    private struct State: ~Copyable {
      var waiting: [String]
      var results: [String: Resolution] = [:]
    }
    private let state: Lock<State>
    private let done: Descriptor
    private let lookUp: LookUp

    init(_ names: [String], _ lookUp: @escaping LookUp) throws(Errno) {
      self.lookUp = lookUp
      state = Lock(State(waiting: names.reversed()))
      done = Descriptor(owning: try LinuxKernel().makeBell())
    }

    /// One lane: looks up one name after another until none is waiting.
    func run() {
      while let name = state.withLock({ $0.waiting.popLast() }) {
        let result = lookUp(name)
        state.withLock { $0.results[name] = result }
        LinuxKernel().ring(done.rawValue)
      }
    }

    /// Waits until there are `count` results or the deadline has come. Blocks. Returns `nil` when
    /// the interruption came first.
    func wait(
      for count: Int, until deadline: Instant, _ interruption: Interruption
    ) -> [String: Resolution]? {
      while true {
        let results = state.withLock { $0.results }
        let remaining = deadline.nanoseconds(since: LinuxKernel().now())
        if results.count >= count || remaining == 0 { return results }
        var items = [
          pollfd(fd: done.rawValue, events: Int16(POLLIN), revents: 0),
          pollfd(fd: interruption.descriptor, events: Int16(POLLIN), revents: 0),
        ]
        _ = poll(&items, 2, CInt(clamping: remaining / 1_000_000 + 1))
        LinuxKernel().silence(done.rawValue)
        if items[1].revents != 0, interruption.hasCome() { return nil }
      }
    }
  }

  /// Looks up all of `names` at once. Blocks until every answer is there, or `timeout` is over; what
  /// is missing then has failed. Returns `nil` when it was interrupted. Throws when the kernel has no
  /// descriptor or no thread for it.
  static func resolve(
    _ names: Set<String>, timeout: Duration, interruption: Interruption = .none,
    lookUp: @escaping LookUp = NameResolver.lookUp
  ) throws(Errno) -> [String: Resolution]? {
    guard !names.isEmpty else { return [:] }
    let work = try Work(names.sorted(), lookUp)
    for lane in 0..<min(names.count, lanesMax) {
      do throws(Errno) {
        try LoopThread(name: "resolver-\(lane)") { work.run() }.detach()
      } catch {
        // Fewer threads only take longer.
        if lane == 0 { throw error }
        break
      }
    }
    let deadline = LinuxKernel().now().advanced(by: timeout.wholeNanoseconds)
    guard var results = work.wait(for: names.count, until: deadline, interruption) else {
      return nil
    }
    for name in names where results[name] == nil {
      results[name] = .failed("no answer within \(timeout.configurationText)")
    }
    return results
  }

  /// Looks up one name. Blocks.
  ///
  /// Addresses of a family that this machine has none of are left out (AI_ADDRCONFIG): they would be
  /// endpoints that never answer. Loopback does not count there, so what this leaves nothing of is
  /// asked for once more as it is: a name that stands for ::1 serves where there is no other IPv6.
  @Sendable private static func lookUp(_ name: String) -> Resolution {
    var (code, resolution) = lookUp(name, flags: AI_ADDRCONFIG)
    if code != 0 { (code, resolution) = lookUp(name, flags: 0) }
    return resolution
  }

  private static func lookUp(_ name: String, flags: CInt) -> (code: CInt, Resolution) {
    var hints = addrinfo()
    hints.ai_flags = flags
    hints.ai_family = AF_UNSPEC
    hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(name, nil, &hints, &list)
    guard code == 0 else { return (code, .failed(String(cString: gai_strerror(code)))) }
    defer { freeaddrinfo(list) }
    var addresses: [IPAddress] = []
    var next = list
    while let entry = next {
      next = entry.pointee.ai_next
      guard let address = entry.pointee.ai_addr else { continue }
      var storage = sockaddr_storage()
      let length = min(Int(entry.pointee.ai_addrlen), MemoryLayout<sockaddr_storage>.size)
      withUnsafeMutableBytes(of: &storage) {
        $0.copyMemory(from: UnsafeRawBufferPointer(start: address, count: length))
      }
      guard let ip = PeerAddress(storage).socketAddress?.ip, !addresses.contains(ip) else {
        continue
      }
      addresses.append(ip)
    }
    return (code, addresses.isEmpty ? .failed("the name has no address") : .addresses(addresses))
  }
}
