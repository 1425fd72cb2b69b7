// SPDX-License-Identifier: Apache-2.0
// Moving bytes: one piece of code for both flows of every session of a worker. `fill` takes bytes from a
// connection into a flow's pending bytes, `drain` takes them from there into the other connection.
//
// Backpressure is a rule of order: pending bytes go out before anything is read, and nothing is
// read while the destination has no room. So a flow holds at most the bytes of one read, and a
// slow reader stops its sender through TCP's own window, however long it takes.
//
// A read goes into one buffer that all sessions of the worker share, and is written from there at once;
// only bytes that the destination does not take get memory of their own. When reads keep filling the
// buffer, bytes are moved through a pipe with splice(2) instead: for bulk that halves the cost, for
// small messages it adds a call. SPLICE_F_MORE is never used: it holds the tail of a message back
// for 200 ms.
//
// A pipe's capacity is counted in slots, not in bytes: a splice into one that is not empty may fail with
// EAGAIN because of the pipe. So a pipe is always emptied before it is filled again, and EAGAIN then
// refers to the socket.

import Reactor

/// The result of moving a flow as far as possible for now.
enum FlowStep: Equatable {
  /// Nothing can be done until an event comes.
  case waiting
  /// There is more to do, but other sessions go first.
  case budgetSpent
  /// The kernel has no memory for the transfer; try again after a while.
  case starved
  /// The source has finished in order, and the destination's kernel has everything: the end can be sent.
  case ended
  /// The source has failed, and the destination's kernel has all bytes that came before.
  case cut
  /// Reading has found that the source has failed: nothing more will come from it.
  case sourceFailed(Errno)
  /// Writing has found that nothing more can be sent to the destination.
  case destinationFailed(Errno)
}

/// The resources with which a worker moves bytes. Not thread-safe: a worker owns it.
struct Relay<K: Kernel>: ~Copyable {
  private let transport: PlainTransport<K>
  /// Read into and written from at once; holds nothing between two calls of `move`.
  private let buffer: UnsafeMutableRawBufferPointer
  private(set) var pipes: PipePool<K>
  /// When the worker lets bytes gather.
  var coalescing: Coalescing
  /// How many bytes all sessions keep in memory of their own.
  private(set) var keptBytes = 0

  /// How many consecutive full reads are bulk. A message that fits in a few reads is not worth a pipe.
  private static var fullReadsForBulk: UInt8 { 4 }
  /// A splice that moves fewer bytes is better done by copying.
  private static var smallSpliceBytes: Int { 16 << 10 }
  private static var smallSplicesForCopying: UInt8 { 2 }

  init(
    kernel: K, bufferBytes: Int, pipes: consuming PipePool<K>, coalescing: Coalescing
  ) {
    precondition(bufferBytes > 0)
    precondition(bufferBytes <= Int(UInt32.max))
    transport = PlainTransport(kernel: kernel)
    self.pipes = pipes
    self.coalescing = coalescing
    buffer = .allocate(byteCount: bufferBytes, alignment: 4096)
  }

  deinit {
    assert(keptBytes == 0)
    buffer.deallocate()
  }

  /// Moves bytes from `source` to `destination` as far as possible, about `budget` bytes at most.
  mutating func move(
    _ flow: inout Flow, from source: inout Connection, to destination: inout Connection,
    budget: Int
  ) -> FlowStep {
    var budget = budget
    while true {
      if flow.pendingBytes > 0, let step = drain(&flow, into: &destination) {
        keepPending(&flow)
        return step
      }
      switch flow.stage {
      case .open: break
      case .ended: return .ended
      case .cut: return .cut
      case .passed, .broken: return .waiting
      }
      guard transport.mayRead(source), transport.mayWrite(destination) else { return .waiting }
      guard budget > 0 else { return .budgetSpent }
      if let step = fill(&flow, from: &source, &budget) { return step }
    }
  }

  /// Reads and drops what the source of a broken flow still sends, about `budget` bytes at most, so that the source
  /// is not blocked and its end is found.
  mutating func discard(_ flow: inout Flow, from source: inout Connection, budget: Int) -> FlowStep
  {
    assert(flow.stage == .broken)
    var budget = budget
    while transport.mayRead(source) {
      guard budget > 0 else { return .budgetSpent }
      switch transport.read(source, into: buffer) {
      case .moved(let count):
        budget -= count
      case .wouldBlock:
        source.flags.remove(.readable)
      case .endOfStream:
        source.flags.remove(.readable)
        source.flags.insert(.hungUp)
      case .failed(let errno) where errno.isShortage:
        return .starved
      case .failed(let errno):
        source.noteFailure(errno)
        source.flags.remove(.readable)
      }
    }
    return .waiting
  }

  /// Sends the end of a flow to its destination.
  func sendEnd(of flow: inout Flow, to destination: inout Connection) {
    destination.flags.insert(transport.sendEnd(destination) ? .isShut : .gone)
    flow.stage = .passed
  }

  /// Drops a flow's pending bytes: nothing can be sent to its destination.
  mutating func breakOff(_ flow: inout Flow) {
    releasePending(&flow)
    if flow.stage != .passed { flow.stage = .broken }
  }

  /// Drops a flow's pending bytes, whatever its stage.
  mutating func releasePending(_ flow: inout Flow) {
    if let pending = flow.pending {
      assert(pending != buffer.baseAddress)
      pending.deallocate()
      keptBytes -= Int(flow.pendingOffset) + Int(flow.pendingBytes)
      flow.pending = nil
    }
    if let index = flow.pipe {
      pipes.giveBack(index, isEmpty: flow.pendingBytes == 0)
      flow.pipe = nil
    }
    flow.pendingOffset = 0
    flow.pendingBytes = 0
  }

  // MARK: Filling

  /// Takes bytes from the source. `nil` when the flow goes on: it has pending bytes, or has ended.
  private mutating func fill(
    _ flow: inout Flow, from source: inout Connection, _ budget: inout Int
  ) -> FlowStep? {
    assert(flow.pendingBytes == 0)
    assert(flow.pipe == nil)
    return flow.isBulk
      ? fillPipe(&flow, from: &source, &budget) : fillBuffer(&flow, from: &source, &budget)
  }

  private mutating func fillBuffer(
    _ flow: inout Flow, from source: inout Connection, _ budget: inout Int
  ) -> FlowStep? {
    switch transport.read(source, into: buffer) {
    case .moved(let count):
      budget -= count
      flow.pending = buffer.baseAddress
      flow.pendingBytes = UInt32(count)
      if count == buffer.count {
        noteFullRead(&flow)
      } else {
        flow.fullReads = 0
        // A short read has emptied the socket, unless an end waits behind it.
        if source.flags.isDisjoint(with: [.hungUp, .readsInPieces]) {
          source.flags.remove(.readable)
        }
      }
    case .wouldBlock: noteNothing(&flow, from: &source)
    case .endOfStream: noteEndOfStream(&flow, from: &source)
    case .failed(let errno): return noteFailure(errno, &flow, of: &source)
    }
    return nil
  }

  /// Fills an empty pipe from the source. If nothing can be spliced and the reason may be other than an empty
  /// socket, a read finds out: at urgent data splice stops for good, with EAGAIN, or with 0 once the peer has
  /// finished, however many bytes are behind the mark. Only a read passes the mark.
  private mutating func fillPipe(
    _ flow: inout Flow, from source: inout Connection, _ budget: inout Int
  ) -> FlowStep? {
    guard let index = pipes.take() else {
      flow.isBulk = false
      return nil
    }
    let pipe = pipes[index]
    // Not bounded by the pipe's size: it counts slots of a page each, and bytes from a socket often fill more than
    // a page per slot.
    let asked = budget
    switch transport.splice(source, into: pipe, bytesMax: asked) {
    case .moved(let count):
      assert(count <= asked)
      budget -= count
      flow.pipe = index
      flow.pendingBytes = UInt32(count)
      noteSplice(count, of: asked, &flow)
      return nil
    case .failed(let errno) where errno != .invalidArgument:
      pipes.giveBack(index, isEmpty: true)
      return noteFailure(errno, &flow, of: &source)
    case .failed:
      // A kind of socket that cannot be spliced.
      flow.isBulk = false
    case .wouldBlock where source.flags.isDisjoint(with: [.hungUp, .readsInPieces]):
      pipes.giveBack(index, isEmpty: true)
      noteNothing(&flow, from: &source)
      return nil
    case .wouldBlock, .endOfStream:
      break
    }
    pipes.giveBack(index, isEmpty: true)
    return fillBuffer(&flow, from: &source, &budget)
  }

  private func noteNothing(_ flow: inout Flow, from source: inout Connection) {
    source.flags.remove(.readable)
    // Nothing will arrive any more at a socket that has failed.
    if source.flags.contains(.gone) { noteEndOfStream(&flow, from: &source) }
  }

  private func noteEndOfStream(_ flow: inout Flow, from source: inout Connection) {
    source.flags.remove(.readable)
    source.flags.insert(.hungUp)
    flow.stage = source.flags.contains(.isCut) ? .cut : .ended
  }

  private func noteFailure(
    _ errno: Errno, _ flow: inout Flow, of source: inout Connection
  ) -> FlowStep? {
    guard !errno.isShortage else { return .starved }
    source.noteFailure(errno)
    source.flags.remove(.readable)
    // A unix peer that has closed has finished in order.
    flow.stage = source.flags.contains(.isCut) ? .cut : .ended
    return .sourceFailed(errno)
  }

  private func noteFullRead(_ flow: inout Flow) {
    flow.fullReads &+= 1
    guard flow.fullReads >= Relay.fullReadsForBulk else { return }
    flow.fullReads = 0
    flow.smallSplices = 0
    flow.isBulk = true
  }

  private func noteSplice(_ count: Int, of asked: Int, _ flow: inout Flow) {
    guard count < min(Relay.smallSpliceBytes, asked) else {
      flow.smallSplices = 0
      return
    }
    flow.smallSplices &+= 1
    if flow.smallSplices >= Relay.smallSplicesForCopying { flow.isBulk = false }
  }

  // MARK: Draining

  /// Delivers pending bytes; `nil` when the destination's kernel has taken all of them.
  private mutating func drain(
    _ flow: inout Flow, into destination: inout Connection
  ) -> FlowStep? {
    guard transport.mayWrite(destination) else { return .waiting }
    endDelay(of: flow, to: &destination)
    let result: Transfer
    if let index = flow.pipe {
      result = transport.splice(
        pipes[index], into: destination, bytesMax: Int(flow.pendingBytes))
    } else {
      guard let pending = flow.pending else { preconditionFailure("pending bytes without a place") }
      result = transport.write(
        destination,
        UnsafeRawBufferPointer(
          start: pending + Int(flow.pendingOffset), count: Int(flow.pendingBytes)))
    }
    switch result {
    case .moved(let count):
      assert(count <= Int(flow.pendingBytes))
      flow.bytes &+= UInt64(count)
      flow.pendingBytes -= UInt32(count)
      flow.pendingOffset += UInt32(count)
      if flow.pendingBytes > 0 {
        // A pipe may give its bytes in pieces; a socket that takes less than offered is full.
        if flow.pipe == nil {
          destination.flags.remove(.writable)
          return .waiting
        }
        return drain(&flow, into: &destination)
      }
      if flow.pending == buffer.baseAddress {
        flow.pending = nil
        flow.pendingOffset = 0
      } else {
        releasePending(&flow)
      }
      return nil
    case .wouldBlock, .endOfStream:
      destination.flags.remove(.writable)
      return .waiting
    case .failed(let errno):
      return errno.isShortage ? .starved : .destinationFailed(errno)
    }
  }

  /// From the second write on, bytes must not wait until earlier bytes are acknowledged.
  private func endDelay(of flow: borrowing Flow, to destination: inout Connection) {
    guard flow.bytes > 0, destination.flags.contains(.delaysSecond) else { return }
    destination.flags.remove(.delaysSecond)
    transport.kernel.setNoDelay(destination.socket.rawValue)
  }

  /// Copies pending bytes from the shared buffer to memory of their own.
  private mutating func keepPending(_ flow: inout Flow) {
    guard let pending = flow.pending, pending == buffer.baseAddress else { return }
    let count = Int(flow.pendingBytes)
    let kept = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 16)
    kept.copyMemory(from: pending + Int(flow.pendingOffset), byteCount: count)
    flow.pending = kept
    flow.pendingOffset = 0
    keptBytes += count
  }
}

extension Errno {
  /// Whether this is a shortage of this machine, and not a failure of the connection.
  var isShortage: Bool { self == .noMemory || self == .noBufferSpace }
}
