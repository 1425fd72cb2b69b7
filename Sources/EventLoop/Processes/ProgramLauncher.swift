// SPDX-License-Identifier: Apache-2.0
// Threads that start programs. A program gets its output as a descriptor, and the kernel copies the table
// of descriptors up to that one into the new process, while no other thread can open or close any. So each
// thread has a low descriptor of its own, reserved before the process opens many others, to which the output
// is moved for the start. A start then costs the same however many descriptors are open.

import CLinux
import Glibc
import Reactor

/// Starts programs for `Program.run`. Any thread.
///
/// Make it early, before the process has many descriptors: it reserves `threadsMax` + 1 of the lowest free
/// ones. Where there are none left, programs are started all the same, only more slowly.
public final class ProgramLauncher: Sendable {
  let pool: BlockingPool
  private let outputs: ReservedDescriptors

  /// A launcher that starts up to `threadsMax` programs at once, each on a thread that the kernel suspends
  /// until the program runs; the threads are started when there is work. Up to `waitingMax` starts wait for
  /// one. `name` is the threads', shown by ps(1).
  public init(name: String, threadsMax: Int, waitingMax: Int = 1024) {
    pool = BlockingPool(name: name, threadsMax: threadsMax, waitingMax: waitingMax)
    outputs = ReservedDescriptors(count: threadsMax)
  }

  /// Starts no more programs. Those that are being started run; `Program.run` throws
  /// `BlockingPoolError.closed` for those that wait for a thread. Any thread.
  public func close() {
    pool.close()
  }

  /// Starts a program, with `output` for what it writes. Returns a descriptor of the process (pidfd_open(2))
  /// and its id. Blocks until it runs.
  func start(
    _ program: Program, output: CInt
  ) throws(Errno) -> (descriptor: CInt, id: CInt) {
    let arguments = CStrings([program.path] + program.arguments)
    let environment = CStrings(program.environment)
    var id: CInt = 0
    let result = outputs.withReserved(for: output) { output in
      clinux_spawn(program.path, arguments.pointers, environment.pointers, output, &id)
    }
    guard result >= 0 else { throw Errno(rawValue: -result) }
    return (result, id)
  }
}

/// Low descriptor numbers, kept from others by an open descriptor that does nothing. Any thread.
private final class ReservedDescriptors: Sendable {
  /// What is at a number that is not in use; -1 when nothing could be reserved.
  private let placeholder: CInt
  private let unused: Lock<[CInt]>

  init(count: Int) {
    // Never one of the standard descriptors, which may be closed in this process.
    let least: CInt = 3
    let opened = open("/dev/null", O_RDONLY | O_CLOEXEC)
    placeholder = opened < 0 ? -1 : clinux_duplicate(opened, least)
    if opened >= 0 { close(opened) }
    var numbers: [CInt] = []
    if placeholder >= 0 {
      for _ in 0..<count {
        let number = clinux_duplicate(placeholder, least)
        if number >= 0 { numbers.append(number) }
      }
    }
    unused = Lock(numbers)
  }

  deinit {
    for number in unused.withLock({ $0 }) { close(number) }
    if placeholder >= 0 { close(placeholder) }
  }

  /// Calls `body` with a reserved number that stands for `descriptor` meanwhile, or with `descriptor`
  /// itself where none is left.
  func withReserved(for descriptor: CInt, _ body: (CInt) -> CInt) -> CInt {
    guard let number = unused.withLock({ $0.popLast() }) else { return body(descriptor) }
    let isMoved = clinux_duplicate_to(descriptor, number) >= 0
    let result = body(isMoved ? number : descriptor)
    // The output has no end as long as this copy of it is open.
    if !isMoved || clinux_duplicate_to(placeholder, number) >= 0 {
      unused.withLock { $0.append(number) }
    } else {
      // Nothing can be put in its place: the limit of open files was lowered below the number.
      close(number)
    }
    return result
  }
}

/// Texts as C wants them.
private final class CStrings {
  let pointers: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
  private let count: Int

  init(_ texts: [String]) {
    count = texts.count
    pointers = .allocate(capacity: count + 1)
    for (index, text) in texts.enumerated() { (pointers + index).initialize(to: strdup(text)) }
    (pointers + count).initialize(to: nil)
  }

  deinit {
    for index in 0..<count { free(pointers[index]) }
    pointers.deallocate()
  }
}
