// SPDX-License-Identifier: Apache-2.0
// Host names to addresses with getaddrinfo(3), which blocks for as long as it likes and cannot be
// cancelled. So look-ups run on a few threads of their own, all at once up to a bound, and whoever
// waits does so with a deadline and leaves a look-up behind that does not come back.

import Addressing
import Glibc
import Plan
import Reactor

/// What a look-up came to.
public enum Resolution: Hashable, Sendable {
  /// At least one address, in the order of RFC 6724, none twice.
  case addresses([IPAddress])
  /// Why there is none, in words.
  case failed(String)
}

/// Looks names up on threads of its own.
public enum NameResolver {
  /// How many look-ups run at once.
  private static let lanesMax = 8

  private final class Work: Sendable {
    private struct State: ~Copyable {
      var waiting: [String]
      var results: [String: Resolution] = [:]
    }
    private let state: Lock<State>
    private let done: Descriptor

    init(_ names: [String]) throws(Errno) {
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

    /// Waits until there are `count` results or the deadline has come. Blocks.
    func wait(for count: Int, until deadline: Instant) -> [String: Resolution] {
      while true {
        let results = state.withLock { $0.results }
        let remaining = deadline.nanoseconds(since: LinuxKernel().now())
        if results.count >= count || remaining == 0 { return results }
        var item = pollfd(fd: done.rawValue, events: Int16(POLLIN), revents: 0)
        _ = poll(&item, 1, CInt(clamping: remaining / 1_000_000 + 1))
        LinuxKernel().silence(done.rawValue)
      }
    }
  }

  /// Looks up all of `names` at once. Blocks until every answer is there, or `timeout` is over; what
  /// is missing then has failed. Throws when the kernel has no descriptor to wait with.
  public static func resolve(
    _ names: Set<String>, timeout: Duration
  ) throws(Errno) -> [String: Resolution] {
    guard !names.isEmpty else { return [:] }
    let work = try Work(names.sorted())
    for lane in 0..<min(names.count, lanesMax) {
      try LoopThread(name: "resolver-\(lane)") { work.run() }.detach()
    }
    let deadline = LinuxKernel().now().advanced(by: timeout.wholeNanoseconds)
    var results = work.wait(for: names.count, until: deadline)
    for name in names where results[name] == nil {
      results[name] = .failed("no answer within \(timeout.configurationText)")
    }
    return results
  }

  /// Looks up one name. Blocks.
  private static func lookUp(_ name: String) -> Resolution {
    var hints = addrinfo()
    hints.ai_family = AF_UNSPEC
    hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(name, nil, &hints, &list)
    guard code == 0 else { return .failed(String(cString: gai_strerror(code))) }
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
    return addresses.isEmpty ? .failed("the name has no address") : .addresses(addresses)
  }
}
