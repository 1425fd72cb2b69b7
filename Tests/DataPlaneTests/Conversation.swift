// SPDX-License-Identifier: Apache-2.0
// A client's life through the proxy in a random schedule: the client, the connections that the proxy made
// to servers for it, and the record of the session.

import Reactor

@testable import DataPlane

/// A record as the access log would tell it: with names instead of slots.
struct NamedRecord {
  let record: SessionRecord
  let listener: String
  let route: String
  let endpoint: String?

  init(_ record: SessionRecord, _ topology: Topology) {
    self.record = record
    listener = topology.listeners[record.listener.position].name
    route = topology.routes[record.route.position].name
    endpoint = record.endpoint.map { topology.endpoints[$0.position].name }
  }
}

/// One client, and every server it was connected with.
final class Conversation {
  let client: Party
  /// `PeerAddress.unix` for every client of a unix listener.
  let address: PeerAddress
  /// The name of the listener that it arrived at, and the proxy's end of the connection there.
  let listener: String
  let arrival: FakeStream
  let number: Int
  /// The proxy's ends of the connections to servers. The last is the one that served, the others were given
  /// up before a byte had moved.
  var attempts: [FakeStream] = []
  /// The end record, and how many bytes were acknowledged when it was written.
  var record: NamedRecord?
  var hasRecord = false
  var acknowledgedAtRecord = (upload: 0, download: 0)
  var recordedAt = Instant(nanoseconds: 0)
  /// What was untrue of the session at some moment.
  var complaints: [String] = []

  init(
    _ client: Party, _ address: PeerAddress, _ listener: String, _ arrival: FakeStream, number: Int
  ) {
    self.client = client
    self.address = address
    self.listener = listener
    self.arrival = arrival
    self.number = number
  }

  var name: String { "client \(number)" }

  /// The proxy's end of the connection that served, if one was established.
  var ours: FakeStream? {
    guard let last = attempts.last, last.peer != nil, last.peer !== last else { return nil }
    return last
  }

  /// Whether the client has sent nothing, and the proxy's kernel knows that it will not.
  var hasClientLeftInSilence: Bool {
    arrival.arrivedBytes == 0 && (arrival.hasReceivedEnd || arrival.failure != nil)
  }

  /// When bytes last moved through a call either way, or were acknowledged by a receiver that is to get more.
  var lastProgressAt: Instant {
    var last = max(arrival.lastMovedAt, ours?.lastMovedAt ?? arrival.lastMovedAt)
    guard let ours else { return last }
    if isAwaited(from: arrival, at: ours) { last = max(last, ours.lastAcknowledgedAt) }
    if isAwaited(from: ours, at: arrival) { last = max(last, arrival.lastAcknowledgedAt) }
    return last
  }

  /// Whether a receiver is to get more than its kernel has acknowledged.
  private func isAwaited(from source: FakeStream, at ours: FakeStream) -> Bool {
    ours.unacknowledgedBytes > 0 || source.arrivedBytes > ours.writtenBytes
  }
}
