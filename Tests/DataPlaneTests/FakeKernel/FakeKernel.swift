// SPDX-License-Identifier: Apache-2.0
// A kernel that tests decide about: time stands still until it is moved, the network carries bytes
// when it is told to, resources run out on demand. One thread uses it.
//
// It is stricter than the real one: what would be EBADF, a second registration, or a removal of what
// was not registered ends the test. Descriptors are given out lowest first, as Linux does, so that
// a number that was just closed comes back at once for somebody else.

import Addressing
import CLinux
import Glibc
import Reactor
import SystemPackage

/// The system calls of a loop, played.
final class FakeKernel: Kernel, @unchecked Sendable {
  // SAFETY: tests use it from one thread only.

  let chaos: FakeChaos
  /// What is said when a rule is broken, so that a failing seed can be found.
  let label: String
  var time = Instant(nanoseconds: 1_000_000_000_000)
  /// How many descriptors may be open.
  var descriptorsMax = 1_000_000
  /// The capacity of each queue of a new socket.
  var socketBytes = 64 << 10
  /// How much a pipe gets at most, whatever is asked for.
  var pipeBytesMax = 1 << 20
  /// The size of what arrives in one segment, and takes a slot of a pipe.
  var fragmentBytes = 1448
  /// The next call of its kind fails so, once.
  var nextAcceptError: Errno?
  /// Whether accepting is forbidden.
  var forbidsAccepting = false
  var nextAcceptAbort: Errno?
  var nextRegisterError: Errno?
  /// What the next bind to a source address fails with.
  var nextBindError: Errno?
  /// All waits so far, and what the last one was asked and answered.
  private(set) var waitCount = 0
  /// How many times a loop let events gather.
  private(set) var sleepCount = 0
  private(set) var lastWait: (timeoutMilliseconds: CInt, count: Int) = (0, 0)
  private(set) var pipeCount = 0
  private(set) var spliceCount = 0
  /// The source address of each bind.
  private(set) var boundCount = 0
  private(set) var acceptCount = 0
  /// How often a connection was told to send small segments at once.
  private(set) var noDelayCount = 0
  /// How often a connection was given the options of those that last.
  private(set) var lastingCount = 0

  private(set) var files: [CInt: FakeFile] = [:]
  var streams: [FakeStream] = []
  var servers: [UInt16: FakeServer] = [:]
  var connecting: [(stream: FakeStream, server: FakeServer)] = []

  init(seed: UInt64 = 0, label: String = "") {
    chaos = FakeChaos(seed: seed)
    self.label = label
  }

  /// The descriptors that nobody has closed.
  var openDescriptors: [CInt] { files.keys.sorted() }

  func advance(milliseconds: Int) {
    time = time.advanced(by: UInt64(milliseconds) * 1_000_000)
  }

  // MARK: Descriptors

  private func open(_ file: FakeFile) throws(Errno) -> CInt {
    guard hasDescriptor else { throw .tooManyOpenFiles }
    if chaos.happens(chaos.resourcePerMille) {
      throw [.tooManyOpenFiles, .noMemory, .tooManyOpenFilesInSystem][chaos.below(3)]
    }
    var number: CInt = 3
    while files[number] != nil { number += 1 }
    files[number] = file
    return number
  }

  private var hasDescriptor: Bool { files.count < descriptorsMax }

  private func file<File: FakeFile>(_ descriptor: CInt, as: File.Type) -> File {
    guard let any = files[descriptor] else {
      fatalError("EBADF: descriptor \(descriptor) is not open; \(label)")
    }
    guard let file = any as? File else {
      fatalError("descriptor \(descriptor) is of another kind; \(label)")
    }
    return file
  }

  /// The socket behind a descriptor, `nil` if there is none.
  func stream(_ descriptor: CInt) -> FakeStream? { files[descriptor] as? FakeStream }

  /// A listening socket for the program under test.
  func makeListener() -> CInt {
    var number: CInt = 3
    while files[number] != nil { number += 1 }
    files[number] = FakeListener(chaos: chaos)
    return number
  }

  func listener(_ descriptor: CInt) -> FakeListener { file(descriptor, as: FakeListener.self) }

  /// How many epoll instances watch a descriptor.
  func watcherCount(of descriptor: CInt) -> Int {
    file(descriptor, as: FakeFile.self).watchers.count
  }

  /// How often a descriptor was registered with an epoll instance.
  func registrationCount(of descriptor: CInt) -> Int {
    file(descriptor, as: FakeFile.self).registrationCount
  }

  // MARK: Kernel

  func now() -> Instant { time }

  func makePoll() throws(Errno) -> CInt {
    try open(FakePoll(chaos: chaos))
  }

  func register(
    _ descriptor: CInt, with poll: CInt, for interest: Interest, token: Token
  ) throws(Errno) {
    if let error = nextRegisterError {
      nextRegisterError = nil
      throw error
    }
    if chaos.happens(chaos.resourcePerMille) { throw .noSpace }
    let target = file(descriptor, as: FakeFile.self)
    file(poll, as: FakePoll.self).add(descriptor, target, interest, token)
  }

  func deregister(_ descriptor: CInt, from poll: CInt) {
    file(poll, as: FakePoll.self).remove(file(descriptor, as: FakeFile.self))
  }

  func wait(
    poll: CInt, into events: UnsafeMutableBufferPointer<clinux_event>, timeoutMilliseconds: CInt
  ) -> Int {
    waitCount += 1
    let count = file(poll, as: FakePoll.self).wait(into: events)
    lastWait = (timeoutMilliseconds, count)
    return count
  }

  func sleep(nanoseconds: UInt64) {
    sleepCount += 1
  }

  func makeBell() throws(Errno) -> CInt {
    try open(FakeBell())
  }

  func ring(_ bell: CInt) {
    file(bell, as: FakeBell.self).ring()
  }

  func silence(_ bell: CInt) {
    file(bell, as: FakeBell.self).silence()
  }

  func accept(from listener: CInt) -> Acceptance {
    acceptCount += 1
    let listener = file(listener, as: FakeListener.self)
    if forbidsAccepting { return .aborted(.notPermitted) }
    if let error = nextAcceptError {
      nextAcceptError = nil
      return .failed(error)
    }
    // Linux takes a descriptor before it looks whether anybody waits.
    guard hasDescriptor else { return .failed(.tooManyOpenFiles) }
    if let error = nextAcceptAbort {
      nextAcceptAbort = nil
      return .aborted(error)
    }
    guard listener.waitingCount > 0 else { return .wouldBlock }
    do throws(Errno) {
      let place = try open(FakeFile())
      guard let (stream, peer) = listener.accept() else { fatalError("looked above") }
      files[place] = stream
      return .accepted(descriptor: place, peer: peer)
    } catch {
      return .failed(error)
    }
  }

  func makeSocket(for address: KernelAddress, options: StreamOptions) throws(Errno) -> CInt {
    try open(makeStream())
  }

  func setNoDelay(_ descriptor: CInt) {
    _ = file(descriptor, as: FakeStream.self)
    noDelayCount += 1
  }

  func setLastingOptions(_ descriptor: CInt, _ options: StreamOptions) {
    _ = file(descriptor, as: FakeStream.self)
    lastingCount += 1
  }

  func bindSource(_ descriptor: CInt, to address: KernelAddress) throws(Errno) {
    _ = file(descriptor, as: FakeStream.self)
    if let error = nextBindError {
      nextBindError = nil
      throw error
    }
    boundCount += 1
  }

  func connect(_ descriptor: CInt, to address: KernelAddress) -> ConnectProgress {
    let stream = file(descriptor, as: FakeStream.self)
    let port = address.withSockaddr { address, _ in
      UnsafeRawPointer(address).loadUnaligned(as: sockaddr_in.self).sin_port.bigEndian
    }
    return startConnecting(stream, to: port)
  }

  func takeError(_ descriptor: CInt) -> Errno? {
    file(descriptor, as: FakeStream.self).takeError()
  }

  func isConnectedToItself(_ descriptor: CInt) -> Bool {
    file(descriptor, as: FakeStream.self).isConnectedToItself
  }

  func receive(_ descriptor: CInt, into buffer: UnsafeMutableRawBufferPointer) -> Transfer {
    precondition(!buffer.isEmpty)
    let stream = file(descriptor, as: FakeStream.self)
    let (transfer, bytes) = stream.receive(bytesMax: buffer.count, withChance: true)
    buffer.copyBytes(from: bytes)
    return transfer
  }

  func peekEnd(_ descriptor: CInt) -> PeekedEnd {
    file(descriptor, as: FakeStream.self).peekEnd()
  }

  func send(_ descriptor: CInt, _ bytes: UnsafeRawBufferPointer) -> Transfer {
    precondition(!bytes.isEmpty)
    return file(descriptor, as: FakeStream.self).send(bytes, withChance: true)
  }

  func splice(from source: CInt, to destination: CInt, bytesMax: Int) -> Transfer {
    precondition(bytesMax > 0)
    spliceCount += 1
    if let stream = stream(source) {
      let end = file(destination, as: FakePipeEnd.self)
      precondition(!end.isReadEnd)
      return end.pipe.fill(from: stream, bytesMax: bytesMax, fragmentBytes: fragmentBytes)
    }
    let end = file(source, as: FakePipeEnd.self)
    precondition(end.isReadEnd)
    return end.pipe.empty(into: file(destination, as: FakeStream.self), bytesMax: bytesMax)
  }

  func shutdownWrite(_ descriptor: CInt) {
    file(descriptor, as: FakeStream.self).shutdownWrite()
  }

  func shutdownRead(_ descriptor: CInt) {
    file(descriptor, as: FakeStream.self).shutdownRead()
  }

  func receiveQueueBytes(_ descriptor: CInt) -> Int {
    file(descriptor, as: FakeStream.self).receiveQueue.count
  }

  func sendQueueBytes(_ descriptor: CInt) -> Int {
    file(descriptor, as: FakeStream.self).unacknowledgedBytes
  }

  func close(_ descriptor: CInt) {
    file(descriptor, as: FakeFile.self).close()
    files[descriptor] = nil
  }

  func reset(_ descriptor: CInt) {
    file(descriptor, as: FakeStream.self).reset()
    files[descriptor] = nil
  }

  func makePipe(bytes: Int) throws(Errno) -> Pipe {
    let pipe = FakePipe(bytes: min(bytes, pipeBytesMax))
    let readEnd = try open(FakePipeEnd(pipe, isReadEnd: true))
    do throws(Errno) {
      let writeEnd = try open(FakePipeEnd(pipe, isReadEnd: false))
      pipeCount += 1
      return Pipe(
        readEnd: readEnd, writeEnd: writeEnd, bytes: pipe.slotsMax * FakePipe.pageBytes)
    } catch {
      close(readEnd)
      throw error
    }
  }
}
