// SPDX-License-Identifier: Apache-2.0
// A descriptor that belongs to somebody else: to a library in C, usually, which makes and closes its
// sockets by itself and has to be told when the kernel has something to say about them. It is what
// asyncio's `add_reader` and `add_writer` are for.

import Reactor

/// Watches a descriptor of somebody else. Loop's thread.
///
/// The kernel speaks up when something changes (edge-triggered), so whoever is called must go on until
/// the descriptor has nothing more to say, or look again by itself.
public final class ForeignDescriptor {
  private let watch: ForeignWatch

  /// Calls `onReady` whenever `descriptor` may have become readable or writable, has failed or was hung
  /// up, until `close`. The descriptor stays its owner's, who must call `close` here before closing it,
  /// and not register it twice. Throws when epoll does not take it (a file, no memory). `loop` is the one
  /// that runs here.
  public init(
    _ descriptor: CInt, on loop: Loop, onReady: @escaping () -> Void
  ) throws(Errno) {
    watch = try ForeignWatch(descriptor, on: loop, onReady: onReady)
  }

  deinit {
    watch.drop()
  }

  /// Watches no longer. Harmless the second time.
  public func close() {
    watch.loop.checkIsolated()
    watch.close()
  }
}

/// What the loop knows of it.
private final class ForeignWatch: Watch, @unchecked Sendable {
  // SAFETY: as its base class.
  private let onReady: () -> Void

  override var what: String { "descriptor of a library" }

  init(
    _ descriptor: CInt, on loop: Loop, onReady: @escaping () -> Void
  ) throws(Errno) {
    self.onReady = onReady
    try super.init(watching: descriptor, on: loop)
  }

  override func becameReadable() {
    onReady()
  }

  override func becameWritable() {
    onReady()
  }

  /// It is not ours to close.
  override func closeDescriptor(byReset isReset: Bool) {}
}
