// SPDX-License-Identifier: Apache-2.0
// Pipes for splice(2), shared by the sessions of a worker. A session holds one only while it contains
// bytes, so few pipes serve many sessions; when none is available, bytes are copied.
//
// An unprivileged user's pipes shrink to one or two pages beyond a limit (pipe-user-pages-soft,
// pipe(7)). Such a pipe moves less per call than a copy would: it is closed, and no pipe is
// requested until some were closed, or many requests later, when other processes may have closed theirs.

import Reactor

/// The index of a pipe in a worker's pool.
struct PipeIndex: Hashable {
  let rawValue: Int32
}

/// A bounded set of pipes. Not thread-safe: a worker owns it.
struct PipePool<K: Kernel>: ~Copyable {
  /// The smallest pipe that makes splicing worth its two calls.
  private static var usefulBytes: Int { 64 << 10 }
  /// How many empty pipes are kept open for the next bulk.
  private static var idleMax: Int { 16 }
  /// How many requests are refused before the kernel is asked again. Each is followed by a copy of a
  /// buffer, beside which the cost of asking does not matter.
  private static var turnedDownMax: Int { 1000 }

  private let kernel: K
  private let pipeBytes: Int
  private let pipesMax: Int
  private var pipes: [Pipe?] = []
  /// Open pipes that are not in use, all of them empty; the last one was used last and is warm.
  private var idle: [PipeIndex] = []
  private var vacant: [PipeIndex] = []
  private(set) var openCount = 0
  /// How many pipes are open at most, lowered when the kernel refuses or shrinks one.
  private var allowed: Int
  /// Requests that were refused without asking the kernel.
  private var turnedDown = 0

  init(kernel: K, pipeBytes: Int, pipesMax: Int) {
    self.kernel = kernel
    self.pipeBytes = pipeBytes
    self.pipesMax = pipesMax
    allowed = pipesMax
  }

  deinit {
    for pipe in pipes {
      guard let pipe else { continue }
      kernel.close(pipe.readEnd)
      kernel.close(pipe.writeEnd)
    }
  }

  subscript(index: PipeIndex) -> Pipe {
    guard let pipe = pipes[Int(index.rawValue)] else {
      preconditionFailure("a pipe that was given back is used")
    }
    return pipe
  }

  /// An empty pipe, `nil` when none is available.
  mutating func take() -> PipeIndex? {
    if let index = idle.popLast() { return index }
    guard openCount < pipesMax else { return nil }
    guard openCount < allowed || turnedDown >= PipePool.turnedDownMax else {
      turnedDown += 1
      return nil
    }
    turnedDown = 0
    guard let pipe = makeUsefulPipe() else {
      allowed = openCount
      return nil
    }
    allowed = pipesMax
    openCount += 1
    if let index = vacant.popLast() {
      pipes[Int(index.rawValue)] = pipe
      return index
    }
    pipes.append(pipe)
    return PipeIndex(rawValue: Int32(pipes.count - 1))
  }

  private func makeUsefulPipe() -> Pipe? {
    guard let pipe = try? kernel.makePipe(bytes: pipeBytes) else { return nil }
    guard pipe.bytes >= PipePool.usefulBytes else {
      kernel.close(pipe.readEnd)
      kernel.close(pipe.writeEnd)
      return nil
    }
    return pipe
  }

  /// Takes back a pipe. One that is not empty cannot serve another session and is closed.
  mutating func giveBack(_ index: PipeIndex, isEmpty: Bool) {
    guard isEmpty, idle.count < PipePool.idleMax else { return close(index) }
    idle.append(index)
  }

  private mutating func close(_ index: PipeIndex) {
    let pipe = self[index]
    kernel.close(pipe.readEnd)
    kernel.close(pipe.writeEnd)
    pipes[Int(index.rawValue)] = nil
    vacant.append(index)
    openCount -= 1
    // The kernel may grant another pipe now.
    allowed = pipesMax
  }
}
