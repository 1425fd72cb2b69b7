// Level-triggered epoll: the simplest thing that is cheap for the few sockets of a load.

import CLoad
import Glibc

/// Waits for several descriptors at once.
struct Poller: ~Copyable {
  private let epoll: Int32
  private let events: UnsafeMutablePointer<load_event>
  private static let capacity = 256

  init() {
    epoll = requireCode(load_epoll_create(), "epoll_create1")
    events = .allocate(capacity: Self.capacity)
    events.initialize(repeating: load_event(), count: Self.capacity)
  }

  deinit {
    events.deallocate()
    close(epoll)
  }

  func add(_ descriptor: Int32, _ interest: UInt32) {
    requireCode(load_epoll_add(epoll, descriptor, interest), "epoll_ctl")
  }

  func change(_ descriptor: Int32, to interest: UInt32) {
    requireCode(load_epoll_modify(epoll, descriptor, interest), "epoll_ctl")
  }

  /// Waits at most that long (nil: for ever), then calls the body for each descriptor that is
  /// ready; returns how many were.
  @discardableResult
  func wait(nanoseconds: UInt64?, _ body: (Int32) -> Void) -> Int {
    let timeout = nanoseconds.map { Int64(clamping: $0) } ?? -1
    let count = requireCode(
      load_epoll_wait(epoll, events, Int32(Self.capacity), timeout), "epoll_pwait2")
    for index in 0..<Int(count) { body(events[index].descriptor) }
    return Int(count)
  }

  /// The same, in milliseconds.
  @discardableResult
  func wait(milliseconds: Int32?, _ body: (Int32) -> Void) -> Int {
    wait(nanoseconds: milliseconds.map { UInt64($0) * 1_000_000 }, body)
  }
}

let readable = UInt32(LOAD_READABLE)
let writable = UInt32(LOAD_WRITABLE)
let edgeTriggered = UInt32(1) << 31
