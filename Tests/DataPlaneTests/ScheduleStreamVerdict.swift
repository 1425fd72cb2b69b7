// SPDX-License-Identifier: Apache-2.0
// The contract of ends, asked of each stream of a schedule: by what has arrived at the proxy's kernel and
// at the reader's, whatever the proxy says about it.

import Reactor

@testable import DataPlane

extension Schedule {
  // MARK: Afterwards

  /// Looks at both streams of a session that is over.
  func reckonStreams(_ conversation: Conversation, _ named: NamedRecord) {
    for ours in conversation.attempts where ours.peer === ours && ours.writtenBytes > 0 {
      complain(.selfConnections, "\(conversation.name) was connected to the proxy itself")
    }
    // As long as the proxy knows of no connection, there is nobody to deliver anything to.
    guard named.record.connectNanoseconds != nil, let ours = conversation.ours,
      let server = server(of: ours)
    else { return }
    reckonStream(
      "upload of \(conversation.name)", from: conversation.arrival, to: ours, server, named)
    reckonStream(
      "download of \(conversation.name)", from: ours, to: conversation.arrival,
      conversation.client, named)
  }

  private func reckonStream(
    _ name: String, from source: FakeStream, to ours: FakeStream, _ reader: Party,
    _ named: NamedRecord
  ) {
    let isComplete = source.hasOrderlyEnd
    // Where an end had come, but could not be told from a failure, both are true. A unix socket that is closed
    // with unread input loses nothing that it has sent, and is no clear case either.
    let isCut = source.failure != nil && !source.hasEndArrived
    guard isComplete || isCut || source.isUnix && source.failure != nil else { return }
    guard !isExcused(ours, reader, named) else { return }
    let rule = isComplete ? ScheduleRules.completeStreams : .cutStreams
    let far = reader.stream
    let kinds = "\(source.isUnix ? "unix" : "TCP") to \(far.isUnix ? "unix" : "TCP")"
    let what = "\(isComplete ? "complete" : "cut") \(name), \(kinds)"
    let account =
      "\(named.record.inWords), still for \(ours.stillNanosecondsAtClose / 1_000_000) ms"
    if far.arrivedBytes < source.arrivedBytes {
      let bytes = "\(far.arrivedBytes) of \(source.arrivedBytes) bytes"
      complain(rule, "\(bytes) of the \(what): \(account)")
    } else if isComplete, !far.hasEndArrived, !ours.isEndUnderWay {
      complain(rule, "the \(what), has no end: \(account)")
    } else if isCut, !far.isUnix, far.hasEndArrived {
      complain(rule, "the \(what), looks complete: \(account)")
    } else if isCut, !far.isUnix, far.failure != .connectionReset {
      complain(rule, "the \(what), ended without a reset: \(account)")
    }
  }

  /// Whether a reader need not get everything: it has left, the proxy has ended the session by a rule of its
  /// own, or nothing had moved for the time after which it may. Where another failure came first, the record names
  /// that one.
  private func isExcused(_ ours: FakeStream, _ reader: Party, _ named: NamedRecord) -> Bool {
    if reader.hasLeftFirst || named.record.end?.origin == .proxy { return true }
    if let endpoint = named.endpoint, journal.closedEndpoints.contains(endpoint) { return true }
    return ours.stillNanosecondsAtClose >= shortestTimes[named.route]?.shortest ?? 0
  }

  // MARK: At the moment

  /// The proxy is about to end one of its streams in order.
  func checkEnd(_ stream: FakeStream) {
    guard let number = stream.conversation, !stream.isUnix, stream.state == .connected,
      !stream.isDead, !stream.isWriteShut, let far = stream.peer, far !== stream, !far.isClosed
    else { return }
    let conversation = conversations[number]
    let isDownload = stream === conversation.arrival
    let what = "\(isDownload ? "download" : "upload") of \(conversation.name)"
    let source = isDownload ? conversation.ours : conversation.arrival
    guard let source, source.hasEndArrived else {
      return complain(.orderlyEnds, "the \(what) is ended before its source has ended")
    }
    if stream.writtenBytes < source.arrivedBytes {
      complain(
        .orderlyEnds,
        "the \(what) is ended after \(stream.writtenBytes) of \(source.arrivedBytes) bytes")
    }
  }

  /// A session has just written its end record.
  func checkMoment(_ record: SessionRecord, of conversation: Conversation) {
    let upload = UInt64(conversation.ours?.acknowledgedBytes ?? 0)
    let download = UInt64(conversation.arrival.acknowledgedBytes)
    if record.uploadBytes > upload {
      complain(
        .records, "\(conversation.name): \(upload) bytes of the upload arrived: \(record.inWords)")
    }
    if record.downloadBytes > download {
      complain(
        .records,
        "\(conversation.name): \(download) bytes of the download arrived: \(record.inWords)")
    }
    checkTimers(record, of: conversation)
  }

  private func checkTimers(_ record: SessionRecord, of conversation: Conversation) {
    guard let reason = record.end?.reason, reason == .idle || reason == .halfCloseTimeout else {
      return
    }
    let times = shortestTimes[rig.topology.routes[record.route.position].name]
    let least = (reason == .idle ? times?.idle : times?.halfClose) ?? 0
    let still = kernel.time.nanoseconds(since: conversation.lastProgressAt)
    if still < least {
      complain(
        .timers,
        "\(conversation.name): \(reason) \(still / 1_000_000) ms after the last progress")
    }
    // Later than the last turn by far: the proxy has overslept.
    guard journal.isEnding, let ours = conversation.ours else { return }
    if couldMove(from: conversation.arrival, to: ours) {
      complain(.timers, "\(conversation.name): \(reason), but the upload could move")
    }
    if couldMove(from: ours, to: conversation.arrival) {
      complain(.timers, "\(conversation.name): \(reason), but the download could move")
    }
  }

  /// Whether something has been waiting for a second that could have been read or written. What the network took
  /// from `ours` a moment ago may have made room that is not reported yet.
  private func couldMove(from source: FakeStream, to ours: FakeStream) -> Bool {
    let lastChange = max(source.lastArrivalAt, ours.peer?.lastArrivalAt ?? source.lastArrivalAt)
    guard source.closedAt == kernel.time, ours.closedAt == kernel.time, ours.failure == nil,
      kernel.time.nanoseconds(since: lastChange) >= 1_000_000_000
    else { return false }
    let written = ours.writtenBytes
    let isUnread = source.arrivedBytes > written || (source.hasOrderlyEnd && !ours.isWriteShut)
    return isUnread && ours.wasWritableAtClose
  }
}

extension SessionRecord {
  /// What the verdict wants to know of it.
  var inWords: String {
    let end = end.map { "\($0.origin) \($0.reason) while \($0.phase), errno \($0.errno)" }
    return "\(end ?? "no end"), \(uploadBytes) up, \(downloadBytes) down, \(attempts) attempts"
  }
}
