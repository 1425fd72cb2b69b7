// SPDX-License-Identifier: Apache-2.0
// Small plans, topologies and records, and pipes to write logs to.

import Addressing
import CLinux
import Glibc
import Plan
import Reactor

@testable import Control
@testable import DataPlane

/// A plan with one route, `r`, and one upstream, `u`, with these endpoints.
func samplePlan(_ endpoints: [EndpointAddress], listen: [ListenAddress] = [.port(0)]) -> ProxyPlan {
  ProxyPlan(
    routes: [RoutePlan(name: "r", listen: listen, upstream: UpstreamIndex(0))],
    upstreams: [
      UpstreamPlan(name: "u", endpoints: endpoints.map { EndpointPlan(address: $0) })
    ])
}

/// A topology with one listener and one endpoint of these names.
func sampleTopology(
  version: Int = 1, listener: String = ":80", endpoint: String = "10.0.0.1:5432"
) -> Topology {
  let plan = samplePlan([.socket(.v4(.loopback, port: 9))])
  return Topology(
    version: version,
    listeners: [
      Listener(
        descriptor: 0, generation: 1, name: listener, route: RouteIndex(0),
        state: ListenerState(workers: 1))
    ], routes: [Route(plan.routes[0], upstream: 0, state: RouteState(workers: 1))],
    upstreams: [
      Upstream(
        plan.upstreams[0], members: [(Upstream.Member(EndpointIndex(0), weight: 1), 0)],
        version: version, state: UpstreamState())
    ],
    endpoints: [
      Endpoint(
        plan.upstreams[0].endpoints[0], name: endpoint, upstreamName: "u",
        address: .v4(.loopback, port: 9), number: 0, state: EndpointState(workers: 1),
        upstreamState: UpstreamState())
    ], sessions: SessionCount(), sessionsMax: 10)
}

/// A record of the only route of `sampleTopology`.
func sampleRecord(
  _ moment: SessionRecord.Moment = .end, endpoint: EndpointIndex? = EndpointIndex(0),
  connect: UInt64? = 412_000,
  end: SessionEnd? = SessionEnd(origin: .downstream, reason: .finished, phase: .downstreamFinished)
) -> SessionRecord {
  SessionRecord(
    moment: moment, at: LinuxKernel().now(), listener: ListenerIndex(0), route: RouteIndex(0),
    client: PeerAddress(.v4(.loopback, port: 43480)), endpoint: endpoint, uploadBytes: 1204,
    downloadBytes: 88210, connectNanoseconds: connect, durationNanoseconds: 1_530_118_999,
    attempts: 1, end: end)
}

/// A pipe whose reader decides when to read.
final class Pipe {
  let writer: CInt
  private let reader: CInt

  init() {
    var ends: [CInt] = [-1, -1]
    precondition(clinux_pipe(&ends) == 0)
    ignoreBrokenPipes()
    (reader, writer) = (ends[0], ends[1])
    // As a log's output usually is.
    _ = fcntl(writer, F_SETFL, 0)
  }

  deinit {
    close(reader)
    close(writer)
  }

  /// Fills the pipe, so that the next writer has to wait.
  func fill() {
    let flags = fcntl(writer, F_GETFL)
    _ = fcntl(writer, F_SETFL, flags | O_NONBLOCK)
    let bytes = [UInt8](repeating: UInt8(ascii: "\n"), count: 4096)
    while write(writer, bytes, bytes.count) > 0 {}
    _ = fcntl(writer, F_SETFL, flags)
  }

  /// Reads until `condition` holds for all that was read, at most for half a minute.
  func read(until condition: (String) -> Bool) -> String {
    var text = ""
    var buffer = [UInt8](repeating: 0, count: 65536)
    while !condition(text) {
      var item = pollfd(fd: reader, events: Int16(POLLIN), revents: 0)
      guard poll(&item, 1, 30_000) == 1 else { break }
      let count = Glibc.read(reader, &buffer, buffer.count)
      guard count > 0 else { break }
      text += String(decoding: buffer[..<count], as: UTF8.self)
    }
    return text
  }
}

/// Makes EPIPE an error like others, as the program does: a log's thread may still be writing when
/// the reader is closed.
func ignoreBrokenPipes() {
  clinux_ignore_signal(SIGPIPE)
}

/// A new folder, which the caller removes.
func temporaryFolder() throws -> String {
  var template = Array("/tmp/sluice-XXXXXX".utf8CString)
  guard let made = mkdtemp(&template) else { throw Errno(rawValue: errno) }
  return String(cString: made)
}

/// Waits until something has become true on another thread, at most for half a minute. Returns
/// whether it has.
func eventually(_ condition: () -> Bool) -> Bool {
  let deadline = LinuxKernel().now().advanced(by: 30_000_000_000)
  while !condition() {
    guard LinuxKernel().now() < deadline else { return false }
    // Nobody rings for this: look again in a moment.
    _ = poll(nil, 0, 1)
  }
  return true
}

/// Whether this machine has the IPv6 loopback address.
let hasIPv6: Bool = {
  do throws(ListeningSocket.Failure) {
    _ = try ListeningSocket(at: .v6(.loopback, port: 0), backlog: 1, options: StreamOptions())
    return true
  } catch {
    return false
  }
}()

/// The path of a file of the repository.
func repositoryPath(_ relative: String) -> String {
  let parts = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(4)
  return parts.joined(separator: "/") + "/" + relative
}
