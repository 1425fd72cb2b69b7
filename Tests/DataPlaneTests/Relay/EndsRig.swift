// SPDX-License-Identifier: Apache-2.0
// What tests of the contract of ends begin with: one session between two sockets of any kind, whose bytes are
// copied or spliced, and one of whose flows the test is about. That flow's source and destination are the
// client and the server, or the other way round.

import Plan
import Reactor
import Testing

@testable import DataPlane

/// One way of having a session.
struct EndsCase: CustomTestStringConvertible, Sendable {
  enum Kind: CaseIterable { case tcp, unix }

  /// The flow that the test is about.
  var way: Way = .download
  var client = Kind.tcp
  var server = Kind.tcp
  var splices = false

  var source: Kind { way == .upload ? client : server }
  var destination: Kind { way == .upload ? server : client }

  var testDescription: String {
    "\(way) from \(source) to \(destination), \(splices ? "spliced" : "copied")"
  }

  /// Both directions, between sockets of all kinds, copied and spliced.
  static let all = [Way.upload, .download].flatMap { way in
    Kind.allCases.flatMap { client in
      Kind.allCases.flatMap { server in
        [false, true].map { EndsCase(way: way, client: client, server: server, splices: $0) }
      }
    }
  }

  static let toTCP = all.filter { $0.destination == .tcp }
  static let fromTCP = all.filter { $0.source == .tcp }
  static let betweenTCP = all.filter { $0.source == .tcp && $0.destination == .tcp }
}

/// A session that stands.
final class EndsRig {
  let way: Way
  let rig: Rig
  let client: FakeStream
  let server: FakeStream
  /// What the source has written so far.
  private(set) var written = 0

  /// More bytes than the destination's socket holds, and no more than are taken from the source while the
  /// destination reads nothing.
  let volume: Int

  /// `socketBytes` is the size of each of the eight queues between the two programs.
  init(
    _ one: EndsCase, socketBytes: Int = 1000, idle: Duration? = nil, halfClose: Duration? = nil,
    flush: Duration = .seconds(1)
  ) throws {
    way = one.way
    volume = one.client == .unix && one.server == .unix ? 1200 : 2000
    var plan = RigPlan(idle: idle, halfClose: halfClose)
    plan.routes[0].flushTimeout = flush
    plan.relay.bufferBytes = min(4096, max(1, socketBytes / 8))
    plan.pipesMax = one.splices ? 4 : 0
    if one.client == .unix { plan.routes[0].listen = [.socket(.unix(path: "/1"))] }
    if one.server == .unix {
      plan.upstreams[0].endpoints = [EndpointPlan(address: .socket(.unix(path: "/9000")))]
    }
    let kernel = FakeKernel()
    kernel.socketBytes = socketBytes
    rig = try Rig(plan, kernel: kernel)
    let listening = rig.kernel.serve(9000, .accepts)
    client = rig.connectClient()
    rig.settle()
    server = try #require(listening.accepted.first)
  }

  var source: FakeStream { way == .upload ? client : server }
  var destination: FakeStream { way == .upload ? server : client }
  var kernel: FakeKernel { rig.kernel }

  /// The byte at a place of what the source sends.
  private static func byte(_ position: Int) -> UInt8 {
    UInt8(truncatingIfNeeded: (position &* 7919) >> 5)
  }

  /// What the destination must have received after so many bytes.
  static func bytes(_ count: Int) -> [UInt8] { (0..<count).map(byte) }

  /// The source sends so many bytes, as far as there is room for them without a reader.
  func write(_ count: Int) {
    let end = written + count
    while written < end {
      let moved = source.writeSome((written..<min(end, written + 500)).map(EndsRig.byte))
      precondition(moved > 0, "the source has no room for what the test sends")
      written += moved
      rig.settle()
    }
  }

  /// The source has sent so many bytes more.
  func note(_ count: Int) { written += count }

  /// The source sends as much as there is room for, while nothing is read.
  func fill() {
    while true {
      let moved = source.writeSome((written..<written + 500).map(EndsRig.byte))
      rig.settle()
      if moved == 0 { return }
      written += moved
    }
  }

  /// Reads from the destination so slowly that it takes longer than any timer of a second, and often enough
  /// that each look of a timer sees progress. What was written to a unix socket counts as one piece or
  /// several, of which one is gone only when all of it was read.
  func readSlowly() -> (bytes: [UInt8], end: Transfer) {
    readSlowly(destination.isUnix ? 250 : 40, every: 220)
  }

  /// Reads from the destination in pieces of `count` bytes, each `milliseconds` after the one before, until
  /// an end is found or `max` bytes were read. Returns what was read, and the end.
  func readSlowly(
    _ count: Int, every milliseconds: Int, max: Int = .max
  ) -> (bytes: [UInt8], end: Transfer) {
    var bytes: [UInt8] = []
    var rest = 0
    while bytes.count < max, rest < 200 {
      rig.advance(milliseconds: milliseconds)
      let piece = destination.readBytes(max: min(count, max - bytes.count))
      bytes += piece
      rig.settle()
      rest = piece.isEmpty ? rest + 1 : 0
      guard destination.receiveQueue.isEmpty else { continue }
      let end = destination.readEnd()
      if end != .wouldBlock { return (bytes, end) }
    }
    return (bytes, .wouldBlock)
  }

  /// Reads all there is, and what comes meanwhile. Returns what was read, and the end.
  func readAll() -> (bytes: [UInt8], end: Transfer) {
    var bytes: [UInt8] = []
    while true {
      rig.settle()
      let piece = destination.readBytes()
      if piece.isEmpty { return (bytes, destination.readEnd()) }
      bytes += piece
    }
  }

  /// The record of the session, which must be over, and have left nothing.
  func takeEnd(sourceLocation: SourceLocation = #_sourceLocation) throws -> SessionRecord {
    rig.settle()
    let ends = rig.takeEnds()
    #expect(ends.count == 1, "\(rig.sessionsInWords)", sourceLocation: sourceLocation)
    #expect(rig.leftovers == [], sourceLocation: sourceLocation)
    #expect(rig.tearDown() == [], sourceLocation: sourceLocation)
    return try #require(ends.first, sourceLocation: sourceLocation)
  }

  /// How many bytes of the flow a record counts.
  func counted(_ record: SessionRecord) -> Int {
    Int(way == .upload ? record.uploadBytes : record.downloadBytes)
  }
}
