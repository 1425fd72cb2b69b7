// SPDX-License-Identifier: Apache-2.0
// HTTP over the connection of a check. What the request is made of is in CheckRequest.swift, what is a good
// answer in AnswerJudge.swift.

import Addressing
import Plan

/// A request, and its answer read until it is known to be good.
struct HTTPCheck: ConversationCheck {
  private let plan: HTTPCheckPlan
  private let request: [UInt8]
  var answerBytesMax: Int { plan.answerBytesMax }

  /// The request to an endpoint that is asked at `target`.
  init(_ plan: HTTPCheckPlan, _ endpoint: HealthSubject.ID, target: SocketAddress) {
    self.plan = plan
    request = CheckRequest.bytes(
      plan, name: endpoint.host, address: endpoint.address, target: target)
  }

  func ask(_ talk: inout Conversation) async throws(CheckStop) {
    try talk.send(request)
    var judge = AnswerJudge(plan)
    while true {
      let bytes = try await talk.receive()
      let verdict = bytes.isEmpty ? judge.finish() : judge.read(bytes)
      switch verdict {
      case nil: continue
      case .failed(let failure)?: throw .failed(failure)
      case .good?, .impossible?, .cancelled?: return
      }
    }
  }
}
