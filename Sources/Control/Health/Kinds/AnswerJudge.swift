// SPDX-License-Identifier: Apache-2.0
// Judges the answer to an HTTP check while it comes in: as soon as it is known whether it is good, no
// byte more is read. Strict where two readers could differ, and bounded: a head, interim answers
// before it, and a body together have at most `HTTPCheckPlan.answerBytesMax` bytes.

import HTTP1
import HTTPTypes
import Matching
import Plan

/// The judge of one answer.
struct AnswerJudge {
  /// How many interim answers (1xx) may come before the final one.
  static let interimMax = 8

  private let plan: HTTPCheckPlan
  private var heads: ResponseHeadReader
  private var interimCount = 0
  /// Reads the body; `nil` until the head has come.
  private var body: BodyReader?
  private var finder: TextFinder
  /// How many bytes may still be read before there is a verdict.
  private(set) var bytesLeft: Int

  /// A judge of what answers this plan's request.
  init(_ plan: HTTPCheckPlan) {
    self.plan = plan
    heads = ResponseHeadReader(
      answering: HTTPRequest.Method(plan.method) ?? .get,
      limits: HeadLimits(bytesMax: plan.answerBytesMax))
    finder = TextFinder(plan.body ?? "")
    bytesLeft = plan.answerBytesMax
  }

  /// Takes what has come, at most `bytesLeft` bytes. Returns the verdict once there is one.
  mutating func read(_ bytes: [UInt8]) -> CheckOutcome? {
    precondition(bytes.count <= bytesLeft)
    bytesLeft -= bytes.count
    var input = bytes[...]
    do throws(MessageError) {
      if body == nil, let verdict = try readHead(&input) { return verdict }
      if let verdict = try readBody(&input) { return verdict }
    } catch {
      return .failed(.malformed(error))
    }
    guard bytesLeft == 0 else { return nil }
    let bytesMax = plan.answerBytesMax
    return .failed(
      body == nil ? .headTooLong(bytesMax: bytesMax) : .bodyLacks(bytesMax: bytesMax))
  }

  /// The stream has ended. Returns the verdict.
  mutating func finish() -> CheckOutcome {
    guard body != nil else { return .failed(.ended) }
    do throws(MessageError) {
      try body?.finish()
    } catch {
      return .failed(.malformed(error))
    }
    return .failed(.bodyLacks(bytesMax: nil))
  }

  private mutating func readHead(
    _ input: inout ArraySlice<UInt8>
  ) throws(MessageError) -> CheckOutcome? {
    while let head = try heads.read(&input) {
      if head.isInterim {
        interimCount += 1
        if interimCount > AnswerJudge.interimMax { return .failed(.interim) }
        continue
      }
      let code = head.response.status.code
      guard plan.statuses.contains(where: { $0.contains(code) }) else {
        return .failed(.status(code))
      }
      guard plan.body != nil else { return .good }
      // A longer body is read as far as this judge's own bound allows.
      body = try BodyReader(head.framing, bytesMax: .max)
      return nil
    }
    return nil
  }

  private mutating func readBody(
    _ input: inout ArraySlice<UInt8>
  ) throws(MessageError) -> CheckOutcome? {
    guard body != nil else { return nil }
    var content: [UInt8] = []
    try body?.read(&input, into: &content)
    finder.read(content[...])
    if finder.isFound { return .good }
    return body?.isComplete == true ? .failed(.bodyLacks(bytesMax: nil)) : nil
  }
}
