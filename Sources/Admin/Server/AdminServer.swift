// SPDX-License-Identifier: Apache-2.0
// The admin interface over HTTP. It is a guest on the control loop: whatever its clients do, it takes
// bounded memory, no thread, and answers in small steps. An error concerns its connection alone and is
// counted; none of them ends the server.
//
//     accept ──▶ serve: request ──▶ answer ──▶ request … ──▶ close
//           └──▶ refuse: 503 ──▶ close

import Addressing
import EventLoop
import Plan
import Reactor

/// Serves `/livez`, `/readyz` and `/metrics`.
public final class AdminServer: Sendable {
  /// What the file of a unix socket gets: the owner's group may ask, others may not.
  static let fileMode: UInt32 = 0o660

  private let listener: StreamListener
  private let source: AdminSource
  private let limits: AdminLimits
  private let state: State

  /// Where it listens: the port that the kernel chose where the plan has 0.
  public var address: SocketAddress { listener.address }

  /// Listens where the plan says; nobody is answered before `run`. `loop` is the one that runs here,
  /// unless another is given that does not run yet.
  public convenience init(
    _ plan: AdminPlan, source: AdminSource, on loop: Loop? = nil
  ) throws(ListeningSocket.Failure) {
    try self.init(at: plan.listen, limits: AdminLimits(plan), source: source, on: loop)
  }

  init(
    at address: SocketAddress, limits: AdminLimits, source: AdminSource, on loop: Loop? = nil
  ) throws(ListeningSocket.Failure) {
    let socket = try ListeningSocket(
      at: address, backlog: 128, options: .prompt, fileMode: AdminServer.fileMode)
    listener = try StreamListener(socket, on: loop)
    self.source = source
    self.limits = limits
    state = State(Admission(connectionsMax: limits.connectionsMax))
  }

  /// Serves until the task is cancelled; listens no more then, and connections end. A task of the
  /// server's loop.
  public func run() async {
    guard let loop = Loop.current else { preconditionFailure("serve from a task of the loop") }
    await withDiscardingTaskGroup { group in
      while !Task.isCancelled {
        do {
          for try await stream in listener.connections { admit(stream, &group, loop) }
          // They end when the task is cancelled.
          break
        } catch {
          // Whatever the kernel has against it may be over later.
          do { try await loop.sleep(for: limits.rest) } catch { break }
        }
      }
      group.cancelAll()
    }
    listener.close()
  }

  private func admit(_ stream: Stream, _ group: inout DiscardingTaskGroup, _ loop: Loop) {
    stream.linger = limits.linger
    switch state.admission.admit() {
    case .serve(let id):
      serve(stream, id, &group, loop)
    case .serveInstead(let id, let idle):
      state.streams.removeValue(forKey: idle)?.close()
      serve(stream, id, &group, loop)
    case .refuse(let id):
      group.addTask(name: "admin refusal") { [self] in
        await refuse(stream, loop)
        state.admission.leave(id)
      }
    case .drop:
      stream.abort()
    }
  }

  private func serve(
    _ stream: Stream, _ id: Admission.ID, _ group: inout DiscardingTaskGroup, _ loop: Loop
  ) {
    state.streams[id] = stream
    group.addTask(name: "admin connection") { [self] in
      var connection = AdminConnection(
        stream: stream, loop: loop, limits: limits,
        onRequest: { [state] isUnderWay in
          if isUnderWay { state.admission.begin(id) } else { state.admission.rest(id) }
        })
      await connection.serve { head in await answer(head, loop) }
      state.streams[id] = nil
      state.admission.leave(id)
      // What was written is still delivered.
      stream.close()
    }
  }

  private func refuse(_ stream: Stream, _ loop: Loop) async {
    var connection = AdminConnection(stream: stream, loop: loop, limits: limits) { _ in }
    count(nil, .tooManyConnections)
    await connection.refuse(.tooManyConnections)
    stream.close()
  }

  // MARK: Answers

  private func answer(_ request: AdminRequest, _ loop: Loop) async -> AdminResponse {
    let response: AdminResponse
    switch request {
    case .page(let page, let format):
      response = await answer(page, format, loop)
      count(page, response)
    case .refused(let page, let refusal):
      response = refusal
      count(page, response)
    }
    return response
  }

  private func answer(
    _ page: AdminPage, _ format: ExpositionFormat, _ loop: Loop
  ) async -> AdminResponse {
    switch page {
    case .live: return .live
    case .ready: return .readiness(await source.readiness())
    case .metrics:
      do {
        let until = loop.now.advanced(by: limits.collect.wholeNanoseconds)
        var snapshot = try await source.metrics(until)
        snapshot.adminRequests = state.requests
        var writer = ExpositionWriter(format)
        for family in snapshot.families {
          writer.write(family)
          // Thousands of endpoints take milliseconds for each family; health checks must not wait for all.
          try await loop.yield()
        }
        return .metrics(writer.finish(), format)
      } catch {
        return .noMetrics("\(error)")
      }
    }
  }

  private func count(_ page: AdminPage?, _ response: AdminResponse) {
    let path = page?.rawValue ?? "other"
    let code = response.status.code
    if let position = state.requests.firstIndex(where: { $0.path == path && $0.code == code }) {
      state.requests[position].count += 1
    } else {
      // There are as many as there are pages times answers.
      state.requests.append(AdminRequestMetrics(path: path, code: code, count: 1))
    }
  }

  /// What the tasks of the server share.
  private final class State: @unchecked Sendable {
    // SAFETY: touched by tasks of one loop alone, and so by its thread.
    var admission: Admission
    /// Those of `admission` that are served.
    var streams: [Admission.ID: Stream] = [:]
    var requests: [AdminRequestMetrics] = []

    init(_ admission: Admission) {
      self.admission = admission
    }
  }
}
