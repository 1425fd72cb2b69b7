// SPDX-License-Identifier: Apache-2.0
// What is written down while a schedule runs: which connections belong to which session, which record to
// which client, and what must hold at the very moment at which something happens. It is found by what the
// kernel is told, not by what workers remember: the tokens of a session's two registrations have the same
// index.

import Reactor

@testable import DataPlane

/// What links sessions, connections and records.
struct ScheduleJournal {
  /// End records in the order of their writing, not given names yet.
  var unnamed: [(record: SessionRecord, conversation: Int?)] = []
  var ends: [NamedRecord] = []
  /// The conversation in each slot of each worker, by the worker's epoll instance.
  fileprivate var slots: [CInt: [Int: Int]] = [:]
  fileprivate var byAddress: [PeerAddress: Int] = [:]
  /// Clients of unix listeners that were not found in a record yet.
  fileprivate var unixClients: [Int] = []
  /// How many records of unix clients could not be told apart.
  var ambiguousCount = 0
  /// The endpoints whose sessions the proxy was told to reset.
  var closedEndpoints: Set<String> = []
  /// Whether every party does what it still wants to.
  var isEnding = false
  /// How many endpoints may be blamed in this turn.
  fileprivate var failuresToBlame = 0
}

extension Schedule {
  /// Hears what the kernel is told.
  func listen() {
    kernel.onRegister = { [unowned self] poll, stream, token in
      switch token.kind {
      case .downstream: journal.slots[poll, default: [:]][token.index] = stream.conversation
      case .upstream:
        guard let number = journal.slots[poll]?[token.index] else {
          return complain("a connection to an endpoint without a session")
        }
        noteAttempt(stream, of: conversations[number])
      case .listener, .bell, .descriptor: break
      }
    }
    kernel.onEnd = { [unowned self] in checkEnd($0) }
    kernel.onConnect = { [unowned self] _, progress in
      guard case .failed(let errno) = progress, !FakeChaos.memoryErrors.contains(errno) else {
        return
      }
      journal.failuresToBlame += 1
    }
    kernel.onClose = { [unowned self] stream in
      stream.closedAt = kernel.time
      stream.wasWritableAtClose = stream.room > 0 && stream.isWritable
      stream.stillNanosecondsAtClose = kernel.time.nanoseconds(
        since: max(stream.lastWrittenAt, stream.lastAcknowledgedAt))
      noteBlame(stream)
    }
  }

  func noteArrival(_ conversation: Conversation) {
    if conversation.address == .unix {
      journal.unixClients.append(conversation.number)
    } else {
      journal.byAddress[conversation.address] = conversation.number
    }
  }

  private func noteAttempt(_ stream: FakeStream, of conversation: Conversation) {
    // A client may also leave between two attempts; the next one is not due to the one before.
    if let last = conversation.ours, last.closedInSilence {
      complain(.blame, "\(conversation.name) left in silence and was retried")
    }
    stream.conversation = conversation.number
    conversation.attempts.append(stream)
    link(stream)
  }

  /// Tells the parties at both ends whose bytes they are to get, once there are a session and a server.
  func link(_ ours: FakeStream) {
    guard let number = ours.conversation else { return }
    let conversation = conversations[number]
    guard let server = server(of: ours), server.partner == nil else { return }
    server.partner = conversation.client
    conversation.client.partner = server
  }

  // MARK: Turns

  /// Turns a worker and takes the records that it writes.
  func turn(_ number: Int) {
    let failures = failuresInARow
    journal.failuresToBlame = 0
    kernel.turningWorker = number
    let worker = rig.workers[number]
    worker.turn()
    takeRecords()
    let increase = failuresInARow - failures
    if increase > journal.failuresToBlame, increase > journal.failuresToBlame + brokenCount {
      complain(.blame, "\(increase) failures, but \(journal.failuresToBlame) to blame anybody for")
    }
    if worker.relay.keptBytes > worker.sessions.count * 4096 {
      complain("\(worker.relay.keptBytes) bytes kept for \(worker.sessions.count) sessions")
    }
  }

  private var failuresInARow: Int {
    judgedEndpoints.reduce(0) { $0 + $1.failuresInARow }
  }

  /// How many connections to endpoints have failed and are still open.
  private var brokenCount: Int {
    conversations.count { conversation in
      guard let ours = conversation.attempts.last else { return false }
      return !ours.isClosed && ours.failure != nil && !conversation.hasClientLeftInSilence
    }
  }

  /// A connection of the proxy is about to be closed: its endpoint may have failed, unless the client left in
  /// silence once the connection was established.
  private func noteBlame(_ stream: FakeStream) {
    guard let number = stream.conversation, stream !== conversations[number].arrival else { return }
    // A connection to itself is a refused one.
    let isEstablished = stream.isKnownToBeConnected && stream.peer !== stream
    if isEstablished, conversations[number].hasClientLeftInSilence {
      stream.closedInSilence = true
      return
    }
    journal.failuresToBlame += 1
  }

  // MARK: Records

  private func takeRecords() {
    var unixRecords: [Int] = []
    for record in rig.readRecords() where record.moment == .end {
      journal.unnamed.append((record, nil))
      if record.client == .unix {
        unixRecords.append(journal.unnamed.count - 1)
      } else if let number = journal.byAddress[record.client] {
        assign(journal.unnamed.count - 1, to: conversations[number])
      } else {
        complain("a record of nobody: \(record.inWords)")
      }
    }
    if !unixRecords.isEmpty { assignUnix(unixRecords) }
  }

  /// Clients of unix listeners have no address. Their records are those of the sessions that are over.
  private func assignUnix(_ records: [Int]) {
    let candidates = journal.unixClients.filter { number in
      let conversation = conversations[number]
      return conversation.arrival.wasAccepted && conversation.arrival.isClosed
        && conversation.attempts.allSatisfy(\.isClosed)
    }
    if records.count == 1, candidates.count == 1 {
      assign(records[0], to: conversations[candidates[0]])
    } else if records.count != candidates.count {
      // Connections on their way between workers have no session yet.
      guard !wasKilled else { return }
      complain("\(records.count) records of \(candidates.count) clients")
    } else {
      journal.ambiguousCount += records.count
      for number in candidates { conversations[number].hasRecord = true }
    }
    journal.unixClients.removeAll { candidates.contains($0) }
  }

  private func assign(_ position: Int, to conversation: Conversation) {
    if conversation.hasRecord { complain("two end records for \(conversation.name)") }
    conversation.hasRecord = true
    journal.unnamed[position].conversation = conversation.number
    let record = journal.unnamed[position].record
    checkMoment(record, of: conversation)
  }

  /// Gives names to the records that were taken, as the access log does now and then.
  func collect() {
    takeRecords()
    for (record, number) in journal.unnamed {
      let named = NamedRecord(record, rig.topology)
      journal.ends.append(named)
      if let number { conversations[number].record = named }
    }
    journal.unnamed.removeAll(keepingCapacity: true)
    rig.notePass()
  }
}
