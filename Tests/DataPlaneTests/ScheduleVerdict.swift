// SPDX-License-Identifier: Apache-2.0
// What must be true of a schedule afterwards.

import Reactor

@testable import DataPlane

extension Schedule {
  /// Looks at everything that has happened, and complains.
  func reckon() {
    for named in journal.ends { reckonRecord(named.record) }
    if !wasKilled {
      reckonSums()
      reckonRosters()
    }
    for conversation in conversations {
      if !conversation.hasRecord, conversation.arrival.wasAccepted, !wasKilled {
        complain("\(conversation.name) was accepted and forgotten")
      }
      reckonBytes(conversation)
      guard let named = conversation.record else { continue }
      reckonNames(conversation, named)
      reckonEnd(conversation, named.record)
      if !wasKilled { reckonStreams(conversation, named) }
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
      complain("\(conversation.name) arrived at \(conversation.listener), not \(named.listener)")
    }
    if routesOfListeners[named.listener]?.contains(named.route) != true {
      complain("\(named.listener) never led to \(named.route)")
    }
    guard named.record.uploadBytes + named.record.downloadBytes > 0, let ours = conversation.ours,
      let served = serverName(of: ours)
    else { return }
    if named.endpoint != served {
      complain("\(conversation.name) was served by \(served), not \(named.endpoint ?? "-")")
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
    let upload = journal.ends.reduce(0) { $0 + $1.record.uploadBytes }
    let download = journal.ends.reduce(0) { $0 + $1.record.downloadBytes }
    let sums: [(String, UInt64, UInt64)] = [
      ("accepted", routes.reduce(0) { $0 + $1.accepted }, UInt64(accepted)),
      ("ended", routes.flatMap(\.ends).reduce(0) { $0 + $1.count }, UInt64(journal.ends.count)),
      ("durations", routes.reduce(0) { $0 + $1.duration.count }, UInt64(journal.ends.count)),
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

  /// What a party has received is what the other has sent, from the first byte on, and an end is only
  /// seen when there was one. Nothing that was sent to one server is sent to another.
  private func reckonBytes(_ conversation: Conversation) {
    let client = conversation.client
    let server = conversation.ours.flatMap(server)
    for ours in conversation.attempts {
      guard let party = self.server(of: ours) else { continue }
      if party !== server, party.receivedCount > 0 { complain("\(conversation.name) was replayed") }
      if party.hasReceivedOthers { complain("the upload of \(conversation.name) differs") }
      reckonEnd("upload of \(conversation.name)", of: client, at: party)
    }
    if client.hasReceivedOthers { complain("the download of \(conversation.name) differs") }
    if let server {
      reckonEnd("download of \(conversation.name)", of: server, at: client)
    } else if client.receivedCount > 0 || (client.sawEnd && !client.stream.isUnix) {
      complain("\(conversation.name) received something from nobody")
    }
  }

  private func reckonEnd(_ what: String, of sender: Party, at receiver: Party) {
    guard receiver.sawEnd, !receiver.stream.isUnix, !sender.stream.isUnix else { return }
    if !sender.hasFinished { complain("the \(what) ended, but nobody ended it") }
    if receiver.receivedCount < sender.sentCount {
      complain("the \(what) ended after \(receiver.receivedCount) of \(sender.sentCount) bytes")
    }
  }

  /// A record says what has happened.
  private func reckonEnd(_ conversation: Conversation, _ record: SessionRecord) {
    guard let end = record.end else { return }
    let client = conversation.client
    let server = conversation.ours.flatMap(server)
    switch (end.origin, end.reason) {
    case (_, .finished):
      guard let server else {
        // A unix client that closes its socket has finished.
        if client.sentCount > 0 { complain("\(conversation.name) finished without a server") }
        return
      }
      // A unix socket that is closed has finished, and may have thrown away what it could not send.
      guard !client.stream.isUnix, !server.stream.isUnix else { return }
      if !client.hasFinished || !server.hasFinished {
        complain("\(conversation.name) finished too early")
      }
      if record.uploadBytes != UInt64(client.sentCount)
        || record.downloadBytes != UInt64(server.sentCount)
      {
        complain("\(conversation.name) finished with bytes missing")
      }
    case (.downstream, _):
      if !client.mayHaveFailed {
        complain("\(conversation.name): the client did not \(end.reason)")
      }
    case (.upstream, .reset) where end.phase != .connecting:
      guard let server else { return complain("\(conversation.name) was reset by no server") }
      if !server.mayHaveFailed { complain("\(conversation.name): the server did not reset") }
    default: break
    }
  }
}
