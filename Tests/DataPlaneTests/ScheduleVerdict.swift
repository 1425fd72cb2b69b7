// SPDX-License-Identifier: Apache-2.0
// What must be true of a schedule afterwards.

import Reactor

@testable import DataPlane

extension Schedule {
  /// Looks at everybody and complains.
  func reckon() {
    var endsByClient: [PeerAddress: SessionRecord] = [:]
    var names: [PeerAddress: NamedRecord] = [:]
    for named in ends {
      let record = named.record
      names[record.client] = named
      if endsByClient.updateValue(record, forKey: record.client) != nil {
        complain("two end records for \(record.client)")
      }
      reckonRecord(record)
    }
    if !wasKilled {
      reckonSums()
      reckonRosters()
    }
    for conversation in conversations {
      let end = endsByClient[conversation.address]
      if end == nil, conversation.arrival.wasAccepted, !wasKilled {
        complain("\(conversation.address) was accepted and forgotten")
      }
      if let named = names[conversation.address] { reckonNames(conversation, named) }
      let server = conversation.servers.last?.peer.flatMap { serverParties[ObjectIdentifier($0)] }
      for stream in conversation.servers {
        guard let end = stream.peer, let party = serverParties[ObjectIdentifier(end)] else {
          continue
        }
        reckonBytes("upload of \(conversation.address)", conversation.client, party)
        if party !== server, !party.received.isEmpty {
          complain("\(conversation.address) was replayed")
        }
      }
      reckonDownload(conversation, server)
      if let end { reckonEnd(conversation, server, end) }
    }
  }

  private func reckonRecord(_ record: SessionRecord) {
    guard let end = record.end else { return complain("an end record without an end") }
    let ours: Set<SessionEnd.Reason> = [
      .idle, .halfCloseTimeout, .flushTimeout, .noEndpoint, .allDown, .noQuorum, .outOfDescriptors,
      .outOfPorts,
      .noSource,
      .outOfMemory, .drainDeadline, .killed, .queueFull, .queueTimedOut, .holdFull, .holdTimedOut,
      .retryBudget, .endpointDown,
    ]
    if ours.contains(end.reason) != (end.origin == .proxy) {
      complain("\(end.reason) was booked to \(end.origin)")
    }
    if [.outOfDescriptors, .outOfMemory].contains(end.reason), !runsShort {
      complain("\(end.reason), but nothing was short")
    }
    if [.connectRefused, .connectTimedOut, .connectFailed, .noEndpoint].contains(end.reason),
      end.phase != .connecting
    {
      complain("\(end.reason) while \(end.phase)")
    }
    let waits: Set<SessionEnd.Reason> = [.queueFull, .queueTimedOut, .holdFull, .holdTimedOut]
    if waits.contains(end.reason) != (end.phase == .waiting), end.origin == .proxy,
      end.reason != .killed
    {
      complain("\(end.reason) while \(end.phase)")
    }
    if end.reason == .killed, !wasKilled { complain("killed by nobody") }
  }

  /// Slots that went to others must not change what is told of those before.
  private func reckonNames(_ conversation: Conversation, _ named: NamedRecord) {
    if named.listener != conversation.listener {
      complain("\(conversation.address) arrived at \(conversation.listener), not \(named.listener)")
    }
    if routesOfListeners[named.listener]?.contains(named.route) != true {
      complain("\(named.listener) never led to \(named.route)")
    }
    // Who came and went within a turn, and moved nothing, was not seen in between.
    guard named.record.uploadBytes + named.record.downloadBytes > 0,
      let ours = conversation.servers.last,
      let served = ours.peer.flatMap({ serverNames[ObjectIdentifier($0)] })
    else { return }
    if named.endpoint != served {
      complain("\(conversation.address) was served by \(served), not \(named.endpoint ?? "-")")
    }
  }

  /// What picks go by is right once everything rests.
  private func reckonRosters() {
    rig.noteReports()
    for fault in rig.topology.rosterFaults { complain("the roster is wrong: \(fault)") }
    for upstream in rig.topology.upstreams where !upstream.isRetired {
      let count = upstream.state.sessions.value
      if count != 0 { complain("\(upstream.name) has \(count) sessions left") }
    }
  }

  /// Counters and records tell the same.
  private func reckonSums() {
    let routes = routeStates.values.map { $0.statistics() }
    let endpoints = endpointStates.values.map { $0.statistics() }
    let accepted = conversations.count { $0.arrival.wasAccepted }
    let upload = ends.reduce(0) { $0 + $1.record.uploadBytes }
    let download = ends.reduce(0) { $0 + $1.record.downloadBytes }
    let sums: [(String, UInt64, UInt64)] = [
      ("accepted", routes.reduce(0) { $0 + $1.accepted }, UInt64(accepted)),
      ("ended", routes.flatMap(\.ends).reduce(0) { $0 + $1.count }, UInt64(ends.count)),
      ("durations", routes.reduce(0) { $0 + $1.duration.count }, UInt64(ends.count)),
      ("upload of routes", routes.reduce(0) { $0 + $1.uploadBytes }, upload),
      ("download of routes", routes.reduce(0) { $0 + $1.downloadBytes }, download),
      ("upload of endpoints", endpoints.reduce(0) { $0 + $1.uploadBytes }, upload),
      ("download of endpoints", endpoints.reduce(0) { $0 + $1.downloadBytes }, download),
    ]
    for (what, counted, recorded) in sums
    where counted < recorded || counted != recorded && !what.contains("load") {
      complain("\(what): \(counted) counted, \(recorded) recorded")
    }
  }

  /// What one has received is what the other has sent, from the first byte on, and an end is only
  /// seen when there was one.
  private func reckonBytes(_ what: String, _ sender: Party, _ receiver: Party) {
    guard sender.sent.starts(with: receiver.received) else {
      return complain("\(what) differs within \(receiver.received.count) bytes")
    }
    if receiver.sawEnd {
      if !sender.hasFinished { complain("\(what) ended, but nobody ended it") }
      if receiver.received.count < sender.sent.count {
        complain("\(what) ended after \(receiver.received.count) of \(sender.sent.count) bytes")
      }
    }
  }

  private func reckonDownload(_ conversation: Conversation, _ server: Party?) {
    let client = conversation.client
    if let server {
      reckonBytes("download of \(conversation.address)", server, client)
    } else if !client.received.isEmpty || client.sawEnd {
      complain("\(conversation.address) received something from nobody")
    }
  }

  private func reckonEnd(_ conversation: Conversation, _ server: Party?, _ record: SessionRecord) {
    guard let end = record.end else { return }
    let client = conversation.client
    let name = "\(conversation.address)"
    switch (end.origin, end.reason) {
    case (_, .finished):
      guard let server else { return complain("\(name) finished without a server") }
      if !client.hasFinished || !server.hasFinished { complain("\(name) finished too early") }
      if record.uploadBytes != UInt64(client.sent.count)
        || record.downloadBytes != UInt64(server.sent.count)
      {
        complain("\(name) finished with bytes missing")
      }
    case (.downstream, _):
      if !client.mayHaveFailed { complain("\(name): the client did not \(end.reason)") }
      // All that had reached us before the reset is delivered.
      if let server, let ours = client.stream.peer, server.isEager, !server.mayHaveFailed,
        !wasKilled, end.phase != .connecting, server.received.count < ours.arrivedBytes
      {
        complain("\(name): \(server.received.count) of \(ours.arrivedBytes) after \(record)")
      }
    case (.upstream, .reset) where end.phase != .connecting:
      guard let server, let ours = conversation.servers.last else {
        return complain("\(name) was reset by no server")
      }
      if !server.mayHaveFailed { complain("\(name): the server did not reset") }
      if client.isEager, !client.mayHaveFailed, !wasKilled,
        client.received.count < ours.arrivedBytes
      {
        complain("\(name): \(client.received.count) of \(ours.arrivedBytes) after \(record)")
      }
    default: break
    }
  }
}
