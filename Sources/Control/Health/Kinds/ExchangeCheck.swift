// SPDX-License-Identifier: Apache-2.0
// Sends and expects by turns. What is expected is looked for in what has come since the last match,
// while it comes; nothing that was looked through is kept.

import Matching
import Plan

/// Steps, one after another.
struct ExchangeCheck: ConversationCheck {
  private let plan: ExchangeCheckPlan
  var answerBytesMax: Int { plan.answerBytesMax }

  init(_ plan: ExchangeCheckPlan) {
    self.plan = plan
  }

  func ask(_ talk: inout Conversation) async throws(CheckStop) {
    var rest: ArraySlice<UInt8> = []
    for (position, step) in plan.steps.enumerated() {
      switch step {
      case .send(let bytes): try talk.send(bytes)
      case .expect(let bytes):
        var finder = TextFinder(bytes)
        try await look(step: position + 1, &rest, &talk) {
          finder.read($0)
        } atEnd: {
          false
        }
      case .match(let pattern):
        var finder = PatternFinder(pattern)
        try await look(step: position + 1, &rest, &talk) {
          finder.read($0)
        } atEnd: {
          finder.finish()
        }
      }
    }
  }

  /// Looks through what has come and what comes, until `find` says where it has found.
  private func look(
    step: Int, _ rest: inout ArraySlice<UInt8>, _ talk: inout Conversation,
    _ find: (ArraySlice<UInt8>) -> Int?, atEnd: () -> Bool
  ) async throws(CheckStop) {
    while true {
      if let end = find(rest) {
        rest = rest[end...]
        return
      }
      guard talk.bytesLeft > 0 else {
        throw .failed(.exchange(step: step, bytesMax: plan.answerBytesMax))
      }
      rest = try await talk.receive()[...]
      guard !rest.isEmpty else {
        if atEnd() { return }
        throw .failed(.exchange(step: step, bytesMax: nil))
      }
    }
  }
}
