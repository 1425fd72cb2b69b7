// SPDX-License-Identifier: Apache-2.0
// Moving bytes: one piece of code for both directions of every session of a worker.
//
// Backpressure is a rule of order: what is kept goes out before anything is read, and nothing is
// read while the destination has no room. So a direction keeps at most what one read brought, and a
// slow reader stops its sender through TCP's own window, however long it takes.
//
// Copying reads into one buffer that all sessions of the worker share and writes from there at once;
// only what the destination does not take gets memory of its own. When reads keep filling the
// buffer, bytes are moved through a pipe with splice(2) instead: for bulk that halves the cost, for
// small messages it adds a call. SPLICE_F_MORE is never used: it holds the tail of a message back
// for 200 ms.
//
// A pipe is full by slots, not by bytes: a splice into one that is not empty may answer EAGAIN
// because of the pipe. So a pipe is always emptied before it is filled again, and EAGAIN then speaks
// of the socket alone.

import Reactor

/// What moved a direction as far as it can go for now.
enum PumpEnd: Equatable {
  /// Nothing can be done until an event comes.
  case waiting
  /// The source has ended and everything has been delivered: the destination is to be told.
  case finished
  /// There is more to do, but it is the turn of others.
  case budgetSpent
  /// The source, which has failed, has given everything that was left in it, and it was delivered.
  case exhausted
  /// The source has failed now. What it sent before has been read, but perhaps not delivered.
  case sourceFailed(Errno)
  /// The destination has failed now.
  case destinationFailed(Errno)
}

/// The resources with which a worker moves bytes. Not thread-safe: a worker owns it.
struct Relay<K: Kernel>: ~Copyable {
  private let kernel: K
  /// Read into and written from at once; holds nothing between two calls of `pump`.
  private let buffer: UnsafeMutableRawBufferPointer
  private(set) var pipes: PipePool<K>
  /// How many bytes all sessions keep in memory of their own.
  private(set) var keptBytes = 0

  /// How many full reads in a row are bulk. A message that fits in a few reads is not worth a pipe.
  private static var fullReadsForBulk: UInt8 { 4 }
  /// A splice below this is better copied.
  private static var smallSpliceBytes: Int { 16 << 10 }
  private static var smallSplicesForCopying: UInt8 { 2 }

  init(kernel: K, bufferBytes: Int, pipes: consuming PipePool<K>) {
    precondition(bufferBytes > 0)
    precondition(bufferBytes <= Int(UInt32.max))
    self.kernel = kernel
    self.pipes = pipes
    buffer = .allocate(byteCount: bufferBytes, alignment: 4096)
  }

  deinit {
    assert(keptBytes == 0)
    buffer.deallocate()
  }

  /// Moves what can be moved from `source` to `destination`, about `budget` bytes at most. Says when the
  /// stream has ended and everything before its end has been delivered.
  mutating func pump(
    _ direction: inout Direction, from source: inout Side, to destination: inout Side,
    budget: Int
  ) -> PumpEnd {
    var budget = budget
    while true {
      if direction.isOver { return .waiting }
      if direction.keptBytes > 0 {
        if let end = deliverKept(&direction, to: &destination) { return end }
        continue
      }
      assert(direction.pipe == nil)
      if direction.stage == .ended {
        if source.flags.contains(.failed) { return .exhausted }
        direction.stage = .finished
        return .finished
      }
      guard source.flags.contains(.readable), destination.flags.contains(.writable) else {
        return .waiting
      }
      guard budget > 0 else { return .budgetSpent }
      let end =
        direction.isBulk
        ? spliceOnce(&direction, from: &source, to: &destination, &budget)
        : copyOnce(&direction, from: &source, to: &destination, &budget)
      if let end { return end }
    }
  }

  /// Forgets what a direction keeps, and that it would have moved anything.
  mutating func abandon(_ direction: inout Direction) {
    releaseKept(&direction)
    direction.stage = .abandoned
  }

  // MARK: Copying

  private mutating func copyOnce(
    _ direction: inout Direction, from source: inout Side, to destination: inout Side,
    _ budget: inout Int
  ) -> PumpEnd? {
    switch kernel.receive(source.socket.rawValue, into: buffer) {
    case .moved(let count):
      budget -= count
      if count == buffer.count {
        noteFullRead(&direction)
      } else {
        direction.fullReads = 0
        // A short read has emptied the socket, unless an end waits behind it.
        if source.flags.isDisjoint(with: [.hungUp, .readsInPieces]) {
          source.flags.remove(.readable)
        }
      }
      return deliver(count, &direction, to: &destination)
    case .wouldBlock: noteNothing(&direction, from: &source)
    case .endOfStream:
      source.flags.remove(.readable)
      direction.stage = .ended
    case .failed(let errno): return noteFailure(errno, &direction, of: &source)
    }
    return nil
  }

  private func noteNothing(_ direction: inout Direction, from source: inout Side) {
    source.flags.remove(.readable)
    // Nothing will ever arrive at a socket that has failed.
    if source.flags.contains(.failed) { direction.stage = .ended }
  }

  private func noteFailure(
    _ errno: Errno, _ direction: inout Direction, of source: inout Side
  ) -> PumpEnd? {
    source.flags.remove(.readable)
    // The first failure is judged by the session: another endpoint may serve it.
    guard source.flags.contains(.failed) else { return .sourceFailed(errno) }
    direction.stage = .ended
    return nil
  }

  private mutating func deliver(
    _ count: Int, _ direction: inout Direction, to destination: inout Side
  ) -> PumpEnd? {
    let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<count])
    endDelay(of: direction, to: &destination)
    switch kernel.send(destination.socket.rawValue, bytes) {
    case .moved(let sent):
      assert(sent <= count)
      direction.bytes &+= UInt64(sent)
      guard sent < count else { break }
      keep(UnsafeRawBufferPointer(rebasing: bytes[sent...]), &direction)
      destination.flags.remove(.writable)
    case .wouldBlock, .endOfStream:
      keep(bytes, &direction)
      destination.flags.remove(.writable)
    case .failed(let errno):
      // Not one of these bytes was sent, so another endpoint may still get them.
      keep(bytes, &direction)
      return .destinationFailed(errno)
    }
    return nil
  }

  /// From the second time on what is sent must not wait for what was sent before.
  private func endDelay(of direction: borrowing Direction, to destination: inout Side) {
    guard direction.bytes > 0, destination.flags.contains(.delaysSecond) else { return }
    destination.flags.remove(.delaysSecond)
    kernel.setNoDelay(destination.socket.rawValue)
  }

  private func noteFullRead(_ direction: inout Direction) {
    direction.fullReads &+= 1
    guard direction.fullReads >= Relay.fullReadsForBulk else { return }
    direction.fullReads = 0
    direction.smallSplices = 0
    direction.isBulk = true
  }

  // MARK: Splicing

  /// Fills an empty pipe from the source; the next round empties it. When nothing can be spliced and
  /// there may be more to it, a read finds out why: splice stops for good at urgent data, saying EAGAIN,
  /// or 0 once the peer has finished, however much lies behind the mark. Only reading steps over it.
  private mutating func spliceOnce(
    _ direction: inout Direction, from source: inout Side, to destination: inout Side,
    _ budget: inout Int
  ) -> PumpEnd? {
    guard let index = direction.pipe ?? pipes.take() else {
      direction.isBulk = false
      return nil
    }
    let pipe = pipes[index]
    // Not bounded by the pipe's size: that counts slots of a page each, and what comes from a socket
    // often fills more than a page per slot.
    let asked = budget
    switch kernel.splice(from: source.socket.rawValue, to: pipe.writeEnd, bytesMax: asked) {
    case .moved(let count):
      assert(count <= asked)
      budget -= count
      direction.pipe = index
      direction.keptBytes = UInt32(count)
      noteSplice(count, of: asked, &direction)
      return nil
    case .failed(let errno) where errno != .invalidArgument:
      pipes.giveBack(index, isEmpty: true)
      direction.pipe = nil
      return noteFailure(errno, &direction, of: &source)
    case .failed:
      // A kind of socket that cannot be spliced.
      direction.isBulk = false
    case .wouldBlock where source.flags.isDisjoint(with: [.hungUp, .readsInPieces]):
      pipes.giveBack(index, isEmpty: true)
      direction.pipe = nil
      noteNothing(&direction, from: &source)
      return nil
    case .wouldBlock, .endOfStream:
      break
    }
    pipes.giveBack(index, isEmpty: true)
    direction.pipe = nil
    return copyOnce(&direction, from: &source, to: &destination, &budget)
  }

  private func noteSplice(_ count: Int, of asked: Int, _ direction: inout Direction) {
    guard count < min(Relay.smallSpliceBytes, asked) else {
      direction.smallSplices = 0
      return
    }
    direction.smallSplices &+= 1
    if direction.smallSplices >= Relay.smallSplicesForCopying { direction.isBulk = false }
  }

  // MARK: What is kept

  /// Delivers what is kept; `nil` when all of it is gone.
  private mutating func deliverKept(
    _ direction: inout Direction, to destination: inout Side
  ) -> PumpEnd? {
    guard destination.flags.contains(.writable) else { return .waiting }
    let result: Transfer
    endDelay(of: direction, to: &destination)
    if let index = direction.pipe {
      result = kernel.splice(
        from: pipes[index].readEnd, to: destination.socket.rawValue,
        bytesMax: Int(direction.keptBytes))
    } else {
      guard let kept = direction.kept else { preconditionFailure("kept bytes without a place") }
      let rest = UnsafeRawBufferPointer(
        start: kept + Int(direction.keptOffset), count: Int(direction.keptBytes))
      result = kernel.send(destination.socket.rawValue, rest)
    }
    switch result {
    case .moved(let count):
      assert(count <= Int(direction.keptBytes))
      direction.bytes &+= UInt64(count)
      direction.keptBytes -= UInt32(count)
      direction.keptOffset += UInt32(count)
      if direction.keptBytes == 0 { releaseKept(&direction) }
      return nil
    case .wouldBlock, .endOfStream:
      destination.flags.remove(.writable)
      return .waiting
    case .failed(let errno):
      return .destinationFailed(errno)
    }
  }

  private mutating func keep(_ bytes: UnsafeRawBufferPointer, _ direction: inout Direction) {
    assert(direction.kept == nil)
    assert(!bytes.isEmpty)
    let kept = UnsafeMutableRawPointer.allocate(byteCount: bytes.count, alignment: 16)
    kept.copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
    direction.kept = kept
    direction.keptOffset = 0
    direction.keptBytes = UInt32(bytes.count)
    keptBytes += bytes.count
  }

  private mutating func releaseKept(_ direction: inout Direction) {
    if let kept = direction.kept {
      kept.deallocate()
      keptBytes -= Int(direction.keptOffset) + Int(direction.keptBytes)
      direction.kept = nil
    }
    if let index = direction.pipe {
      pipes.giveBack(index, isEmpty: direction.keptBytes == 0)
      direction.pipe = nil
    }
    direction.keptOffset = 0
    direction.keptBytes = 0
  }
}
