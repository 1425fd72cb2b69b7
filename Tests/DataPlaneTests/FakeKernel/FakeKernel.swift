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
  let world: FakeWorld
  /// The fault that is injected, if any.
  let faults: FakeFaults
  /// What is said when a rule is broken, so that a failing seed can be found.
  let label: String
  /// The worker that is being turned: its clock may be wrong.
  var turningWorker = 0
  /// How many descriptors may be open.
  var descriptorsMax = 1_000_000
  /// The capacity of each queue of a new socket.
  var socketBytes = 64 << 10
  /// How much a pipe gets at most, whatever is asked for.
  var pipeBytesMax = 1 << 20
  /// The size of what arrives in one segment, and takes a slot of a pipe.
  var fragmentBytes = 1448
  /// The pace of the next TCP connection's end, which has so much room to receive.
  var makePace: (_ receiveCapacity: Int) -> FakePace = { _ in .prompt }
  /// The bound on unsent bytes that accepted connections inherit from their listener.
  var acceptedUnsentBytesMax = Int.max
  /// Called when a socket has been registered with an epoll instance.
  var onRegister: (_ poll: CInt, FakeStream, Token) -> Void = { _, _, _ in }
  /// Called before an orderly end is sent.
  var onEnd: (FakeStream) -> Void = { _ in }
  /// Called before a socket is closed by any means.
  var onClose: (FakeStream) -> Void = { _ in }
  /// Called with each attempt to connect, and what became of it.
  var onConnect: (FakeStream, ConnectProgress) -> Void = { _, _ in }
  /// The next call of its kind fails so, once.
  var nextAcceptError: Errno?
  /// Whether accepting is forbidden.
  var forbidsAccepting = false
  var nextAcceptAbort: Errno?
  var nextRegisterError: Errno?
  var nextBindError: Errno?
  var nextSocketError: Errno?
  var nextConnectError: Errno?
  var nextReceiveError: Errno?
  var nextSendError: Errno?
  var nextSpliceError: Errno?
  var nextPipeError: Errno?
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

  private var files = FakeFileTable()
  /// All streams that were ever made.
  var streams: [FakeStream] = []
  var servers: [UInt16: FakeServer] = [:]
  var connecting: [(stream: FakeStream, server: FakeServer)] = []

  init(seed: UInt64 = 0, label: String = "", faults: FakeFaults = .none) {
    chaos = FakeChaos(seed: seed)
    world = FakeWorld(chaos: chaos)
    self.faults = faults
    self.label = label
  }

  deinit {
    // Ends of a connection hold each other, and the network holds those that it has something to carry for.
    for stream in streams { stream.peer = nil }
    world.busy = []
  }

  var time: Instant {
    get { world.clock.now }
    set { world.clock.now = newValue }
  }

  /// The descriptors that nobody has closed.
  var openDescriptors: [CInt] { files.openDescriptors }

  func advance(milliseconds: Int) {
    time = time.advanced(by: UInt64(milliseconds) * 1_000_000)
  }

  // MARK: Descriptors

  private func open(_ file: FakeFile) throws(Errno) -> CInt {
    guard hasDescriptor else { throw .tooManyOpenFiles }
    if let errno = chaos.shortage(of: FakeChaos.descriptorErrors) { throw errno }
    return files.open(file)
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
  func makeListener(isUnix: Bool = false) -> CInt {
    files.open(FakeListener(chaos: chaos, isUnix: isUnix))
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

  func now() -> Instant { time.advanced(by: faults.clockError(of: turningWorker)) }

  func makePoll() throws(Errno) -> CInt {
    try open(FakePoll(chaos: chaos, faults: faults))
  }

  func register(
    _ descriptor: CInt, with poll: CInt, for interest: Interest, token: Token
  ) throws(Errno) {
    if let errno = nextRegisterError.take() ?? chaos.shortage(of: FakeChaos.registerErrors) {
      throw errno
    }
    let target = file(descriptor, as: FakeFile.self)
    file(poll, as: FakePoll.self).add(descriptor, target, interest, token)
    if let stream = target as? FakeStream { onRegister(poll, stream, token) }
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
    let bell = file(bell, as: FakeBell.self)
    if !faults.swallowsWakeup() { bell.ring() }
  }

  func silence(_ bell: CInt) {
    file(bell, as: FakeBell.self).silence()
  }

  func accept(from listener: CInt) -> Acceptance {
    acceptCount += 1
    let listener = file(listener, as: FakeListener.self)
    if forbidsAccepting { return .aborted(.notPermitted) }
    if let errno = nextAcceptError.take() { return .failed(errno) }
    // Linux takes a descriptor before it looks whether anybody waits.
    guard hasDescriptor else { return .failed(.tooManyOpenFiles) }
    if let errno = nextAcceptAbort.take() { return .aborted(errno) }
    guard listener.waitingCount > 0 else { return .wouldBlock }
    do throws(Errno) {
      let place = try open(FakeFile())
      guard let (stream, peer) = listener.accept() else { fatalError("looked above") }
      files[place] = stream
      if let tcp = stream as? FakeTCPStream { tcp.unsentBytesMax = acceptedUnsentBytesMax }
      return .accepted(descriptor: place, peer: peer)
    } catch {
      return .failed(error)
    }
  }

  func makeSocket(for address: KernelAddress, options: StreamOptions) throws(Errno) -> CInt {
    if let errno = nextSocketError.take() { throw errno }
    return try open(makeStream(isUnix: !address.isIP))
  }

  func setNoDelay(_ descriptor: CInt) {
    _ = file(descriptor, as: FakeTCPStream.self)
    noDelayCount += 1
  }

  func setLastingOptions(_ descriptor: CInt, _ options: StreamOptions) {
    let stream = file(descriptor, as: FakeTCPStream.self)
    lastingCount += 1
    guard options.unsentBytesMax > 0 else { return }
    stream.unsentBytesMax = Int(options.unsentBytesMax)
    stream.changed()
  }

  func bindSource(_ descriptor: CInt, to address: KernelAddress) throws(Errno) {
    _ = file(descriptor, as: FakeStream.self)
    if let errno = nextBindError.take() { throw errno }
    boundCount += 1
  }

  func connect(_ descriptor: CInt, to address: KernelAddress) -> ConnectProgress {
    let stream = file(descriptor, as: FakeStream.self)
    var progress: ConnectProgress
    if let errno = nextConnectError.take() ?? chaos.shortage(of: FakeChaos.memoryErrors) {
      progress = .failed(errno)
    } else {
      progress = startConnecting(stream, to: address.fakePort)
    }
    stream.isKnownToBeConnected = progress == .connected
    onConnect(stream, progress)
    return progress
  }

  func takeError(_ descriptor: CInt) -> Errno? {
    file(descriptor, as: FakeStream.self).takeError()
  }

  func isConnectedToItself(_ descriptor: CInt) -> Bool {
    let stream = file(descriptor, as: FakeStream.self)
    return stream.peer === stream
  }

  func receive(_ descriptor: CInt, into buffer: UnsafeMutableRawBufferPointer) -> Transfer {
    precondition(!buffer.isEmpty)
    let stream = file(descriptor, as: FakeStream.self)
    if let errno = nextReceiveError.take() ?? chaos.transferShortage() { return .failed(errno) }
    return stream.receive(into: buffer, withChance: true)
  }

  func peekEnd(_ descriptor: CInt) -> PeekedEnd {
    file(descriptor, as: FakeStream.self).peekEnd()
  }

  func send(_ descriptor: CInt, _ bytes: UnsafeRawBufferPointer) -> Transfer {
    precondition(!bytes.isEmpty)
    let stream = file(descriptor, as: FakeStream.self)
    if let errno = nextSendError.take() ?? chaos.transferShortage() { return .failed(errno) }
    return stream.send(bytes, withChance: true)
  }

  func splice(from source: CInt, to destination: CInt, bytesMax: Int) -> Transfer {
    precondition(bytesMax > 0)
    spliceCount += 1
    if let errno = nextSpliceError.take() ?? chaos.transferShortage() { return .failed(errno) }
    if let stream = stream(source) {
      let end = file(destination, as: FakePipeEnd.self)
      precondition(!end.isReadEnd)
      return end.pipe.fill(from: stream, bytesMax: bytesMax, fragmentBytes: fragmentBytes)
    }
    let end = file(source, as: FakePipeEnd.self)
    precondition(end.isReadEnd)
    return end.pipe.empty(into: file(destination, as: FakeStream.self), bytesMax: bytesMax)
  }

  @discardableResult
  func shutdownWrite(_ descriptor: CInt) -> Bool {
    let stream = file(descriptor, as: FakeStream.self)
    onEnd(stream)
    if let tcp = stream as? FakeTCPStream, faults.resetsInsteadOfEnding() {
      tcp.abort()
      return true
    }
    // ENOTCONN: the state is CLOSE. A unix socket is connected as long as it is open.
    let isConnected = stream.isUnix || !stream.isDead
    stream.shutdownWrite()
    return isConnected
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
    let file = file(descriptor, as: FakeFile.self)
    files[descriptor] = nil
    guard let stream = file as? FakeStream else { return file.close() }
    onClose(stream)
    if stream.receiveQueue.isEmpty { onEnd(stream) }
    if faults.resetsInsteadOfEnding() { stream.reset() } else { stream.close() }
  }

  func reset(_ descriptor: CInt) {
    let stream = file(descriptor, as: FakeStream.self)
    files[descriptor] = nil
    onClose(stream)
    stream.reset()
  }

  func makePipe(bytes: Int) throws(Errno) -> Pipe {
    if let errno = nextPipeError.take() { throw errno }
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
