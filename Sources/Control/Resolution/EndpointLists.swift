// SPDX-License-Identifier: Apache-2.0
// Files that list endpoints, followed while the proxy runs. A file is looked at twice a second by its
// path (stat(2), so that it makes no difference how the new one got there: written over, renamed into
// place, or by a link that was turned elsewhere, as mounted volumes do it; inotify(7) would have to follow
// every link on the way, and tells nothing of a file on a network). It is read when it was found
// unchanged by two looks after a change, and is the same before and after reading: half of a list is
// a list, too, and would take endpoints away. All of that happens on threads that may wait, for each path
// one at a time: one that hangs holds a single thread, for as long as it does.
//
// Each list has a task that also looks its names up, before it asks for a change: changes are taken up one
// after another, and none waits for a name of another's.

import EventLoop
import Glibc
import Logging
import Plan
import Reactor

/// What reading a file that lists endpoints came to.
public struct EndpointsReading: Sendable {
  /// The endpoints, at least one; `nil` when the file is wrong or cannot be read.
  public let endpoints: [EndpointPlan]?
  /// Errors and warnings, each in a line.
  public let problems: [String]

  /// Puts both together.
  public init(endpoints: [EndpointPlan]?, problems: [String]) {
    self.endpoints = endpoints
    self.problems = problems
  }
}

/// A file that lists the endpoints of an upstream.
struct EndpointListKey: Hashable, Sendable {
  let upstream: String
  let path: String
}

/// The endpoints that files have listed, and what became of them.
struct EndpointLists {
  /// What was read and waits to be taken up.
  var waiting: [EndpointListKey: [EndpointPlan]] = [:]
  /// What could not be taken up, because of a name that was not found, for example; it is tried again.
  var refused: [EndpointListKey: [EndpointPlan]] = [:]
  /// The files that could not be used the last time, and why.
  var failing: [EndpointListKey: [String]] = [:]
  /// Those who follow them.
  var watches: [EndpointListKey: Task<Void, any Error>] = [:]
  /// Whose turn it is to look at a path.
  var turns = PathTurns()

  /// Takes what waits, all of it: what comes from now on waits for another change.
  mutating func takeWaiting() -> [(key: EndpointListKey, endpoints: [EndpointPlan])] {
    defer { waiting = [:] }
    return waiting.sorted { $0.key.upstream < $1.key.upstream }
      .map { (key: $0.key, endpoints: $0.value) }
  }
}

/// Lets each path be looked at by one thread at a time. A look that was given up goes on until the kernel
/// returns, and nobody else begins one at the same path before that.
struct PathTurns {
  /// A turn, given back when nothing holds it any more.
  private final class Turn: Sendable {
    private let place: EventLoop.Semaphore

    init(_ place: EventLoop.Semaphore) { self.place = place }

    deinit { place.release() }
  }

  private var places: [String: EventLoop.Semaphore] = [:]

  /// Where whoever looks at a path stands.
  mutating func place(of path: String) -> EventLoop.Semaphore {
    if let place = places[path] { return place }
    let place = EventLoop.Semaphore(1)
    places[path] = place
    return place
  }

  /// Forgets all paths but these, and those that somebody is at.
  mutating func keep(only paths: Set<String>) {
    places = places.filter { paths.contains($0.key) || $0.value.available == 0 }
  }

  /// Runs `body`, which may block, on a thread of `pool`, once the place is free, and has it free again
  /// when `body` has returned, however long after the deadline. Throws what `body` and the pool do, and
  /// `WaitError`.
  static func run<Success: Sendable>(
    _ place: EventLoop.Semaphore, on pool: BlockingPool, until deadline: Instant,
    _ body: @escaping @Sendable () throws -> Success
  ) async throws -> Success {
    try await place.acquire(until: deadline)
    return try await pool.run(until: deadline, holding(Turn(place), body))
  }

  /// The turn ends with the work, also with work that is never begun.
  private static func holding<Success: Sendable>(
    _ turn: Turn, _ body: @escaping @Sendable () throws -> Success
  ) -> @Sendable () throws -> Success {
    { try withExtendedLifetime(turn) { try body() } }
  }
}

/// What a file looks like from outside: another one, or one that was written to, looks different.
struct FileMark: Hashable, Sendable {
  private let parts: [Int64]

  /// Looks at the file that a path leads to now. Blocks.
  init(of path: String) {
    var status = stat()
    guard stat(path, &status) == 0 else {
      parts = [Int64(errno)]
      return
    }
    parts = [
      Int64(bitPattern: UInt64(status.st_dev)), Int64(bitPattern: UInt64(status.st_ino)),
      Int64(status.st_size), Int64(status.st_mtim.tv_sec), Int64(status.st_mtim.tv_nsec),
      Int64(status.st_ctim.tv_sec), Int64(status.st_ctim.tv_nsec),
    ]
  }
}

/// Says when a file is to be read, by what it looks like again and again.
struct FileSettling {
  private var read: FileMark?
  private var seen: FileMark?

  /// Whether a file that looks like this now is to be read: it is not what was read last, and was the
  /// same at the look before.
  mutating func isDue(_ mark: FileMark) -> Bool {
    defer { seen = mark }
    return mark != read && mark == seen
  }

  /// It was read, and looked like this before and like that afterwards. Returns whether it was the same
  /// all along; otherwise what was read is worth nothing.
  mutating func noteRead(_ before: FileMark, _ after: FileMark) -> Bool {
    guard before == after else {
      seen = after
      return false
    }
    read = before
    return true
  }
}

extension ControlPlane {
  /// How often a file is looked at. A change is taken up after two looks.
  private static let listLookPause = Duration.milliseconds(500)
  /// When a list that could not be taken up is tried again.
  private static let listRetryPause = Duration.seconds(5)
  /// How many endpoints a line of the log names.
  private static let listedShown = 8

  /// Follows the files of the plan, and no others.
  func watchLists() {
    let wanted = Set(plan.endpointLists)
    for (key, task) in lists.watches where !wanted.contains(key) {
      task.cancel()
      lists.watches[key] = nil
      lists.waiting[key] = nil
      lists.refused[key] = nil
      lists.failing[key] = nil
    }
    lists.turns.keep(only: Set(wanted.map(\.path)))
    for key in wanted where lists.watches[key] == nil {
      lists.watches[key] = loop.spawn(name: "endpoints of \(key.upstream)") {
        try await self.follow(key)
      }
    }
  }

  private func follow(_ key: EndpointListKey) async throws {
    var settling = FileSettling()
    var retryAt: Instant?
    while true {
      try await loop.sleep(for: ControlPlane.listLookPause)
      if lists.refused[key] == nil {
        retryAt = nil
      } else if let moment = retryAt {
        if loop.now >= moment, let endpoints = lists.refused.removeValue(forKey: key) {
          retryAt = nil
          try await offer(key, endpoints)
        }
      } else {
        retryAt = loop.now.advanced(by: ControlPlane.listRetryPause.wholeNanoseconds)
      }
      if let reading = try await readList(key, &settling), let endpoints = note(key, reading) {
        lists.refused[key] = nil
        try await offer(key, endpoints)
      }
    }
  }

  /// Has a list taken up soon, once its names are known.
  private func offer(_ key: EndpointListKey, _ endpoints: [EndpointPlan]) async throws {
    guard let position = position(of: key) else { return }
    var new = plan
    new.upstreams[position].replaceListed(with: endpoints)
    let reasons = await learnNames(of: new)
    try Task.checkCancellation()
    guard reasons.isEmpty else { return refuse(key, endpoints, reasons) }
    lists.waiting[key] = endpoints
    request(.lists)
  }

  private func position(of key: EndpointListKey) -> Int? {
    plan.upstreams.firstIndex {
      $0.name == key.upstream && $0.endpointsFile?.path == key.path
    }
  }

  /// What a file holds, if it has changed.
  private func readList(
    _ key: EndpointListKey, _ settling: inout FileSettling
  ) async throws -> EndpointsReading? {
    guard let upstream = plan.upstreams.first(where: { $0.name == key.upstream }) else {
      return nil
    }
    let path = key.path
    let place = lists.turns.place(of: path)
    let deadline = loop.now.advanced(by: ControlPlane.readTimeout.wholeNanoseconds)
    do {
      let mark = try await PathTurns.run(place, on: pools.lists, until: deadline) {
        FileMark(of: path)
      }
      guard settling.isDue(mark) else { return nil }
      let read = source.readEndpoints
      let (reading, after) = try await PathTurns.run(place, on: pools.lists, until: deadline) {
        (read(path, upstream), FileMark(of: path))
      }
      return settling.noteRead(mark, after) ? reading : nil
    } catch WaitError.cancelled {
      throw WaitError.cancelled
    } catch WaitError.deadlinePassed {
      let timeout = ControlPlane.readTimeout.configurationText
      return EndpointsReading(
        endpoints: nil, problems: ["\(path) cannot be read within \(timeout)"])
    } catch {
      return EndpointsReading(endpoints: nil, problems: ["\(path) cannot be read: \(error)"])
    }
  }

  /// Says what is wrong with a file, or no more. Returns what it lists.
  private func note(_ key: EndpointListKey, _ reading: EndpointsReading) -> [EndpointPlan]? {
    guard let endpoints = reading.endpoints else {
      guard lists.failing[key] != reading.problems else { return nil }
      lists.failing[key] = reading.problems
      for problem in reading.problems {
        logger.error(
          "an endpoints file cannot be used; its last endpoints stay",
          metadata: ["upstream": "\(key.upstream)", "cause": "\(problem)"])
      }
      return nil
    }
    if lists.failing.removeValue(forKey: key) != nil {
      logger.info(
        "an endpoints file can be used again",
        metadata: ["upstream": "\(key.upstream)", "file": "\(key.path)"])
    }
    for problem in reading.problems { logger.warning("\(problem)") }
    return endpoints
  }

  /// Has the endpoints that files list now serve. Those that come meanwhile are another change, behind
  /// whatever else waits.
  func takeUpLists() async {
    for (key, endpoints) in lists.takeWaiting() {
      guard let position = position(of: key) else { continue }
      let old = Array(plan.upstreams[position].listedEndpoints)
      guard old != endpoints else { continue }
      var new = plan
      new.upstreams[position].replaceListed(with: endpoints)
      // The configuration may have changed since it was read, and names that it has made nobody's be
      // forgotten.
      var reasons = endpoints.compactMap(new.upstreams[position].refusal(of:))
      if reasons.isEmpty { reasons = await learnNames(of: new) }
      if reasons.isEmpty { reasons = await takeUp(new) }
      forgetUnusedNames()
      guard reasons.isEmpty else {
        refuse(key, endpoints, reasons)
        continue
      }
      lists.failing[key] = nil
      logger.info(
        "an endpoints file has other endpoints",
        metadata: [
          "upstream": "\(key.upstream)", "count": "\(endpoints.count)",
          "added": "\(names(of: endpoints, beyond: old))",
          "removed": "\(names(of: old, beyond: endpoints))",
        ])
    }
  }

  private func refuse(_ key: EndpointListKey, _ endpoints: [EndpointPlan], _ reasons: [String]) {
    lists.refused[key] = endpoints
    guard lists.failing[key] != reasons else { return }
    lists.failing[key] = reasons
    for reason in reasons {
      logger.error(
        "an endpoints file cannot be used; its last endpoints stay",
        metadata: ["upstream": "\(key.upstream)", "cause": "\(reason)"])
    }
  }

  private func names(of endpoints: [EndpointPlan], beyond others: [EndpointPlan]) -> String {
    let others = Set(others.map(\.address))
    let names = endpoints.map(\.address).filter { !others.contains($0) }.map(\.description)
    guard !names.isEmpty else { return "-" }
    let shown = names.prefix(ControlPlane.listedShown).joined(separator: ",")
    return names.count > ControlPlane.listedShown ? "\(shown),… (\(names.count))" : shown
  }
}

extension ProxyPlan {
  /// The files that list endpoints.
  fileprivate var endpointLists: [EndpointListKey] {
    upstreams.compactMap { upstream in
      upstream.endpointsFile.map { EndpointListKey(upstream: upstream.name, path: $0.path) }
    }
  }
}
