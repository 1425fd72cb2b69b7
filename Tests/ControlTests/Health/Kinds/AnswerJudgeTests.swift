// SPDX-License-Identifier: Apache-2.0
// The verdict on an answer, however it arrives: whole, byte by byte, or cut short.

import HTTP1
import Plan
import Testing

@testable import Control

@Suite struct AnswerJudgeTests {
  /// The verdict when the answer comes in pieces of `size` bytes and the connection ends after it.
  private func verdict(_ answer: String, _ plan: HTTPCheckPlan, pieces size: Int) -> CheckOutcome {
    var judge = AnswerJudge(plan)
    var rest = Array(answer.utf8)[...]
    while !rest.isEmpty {
      let piece = Array(rest.prefix(min(size, judge.bytesLeft)))
      rest = rest.dropFirst(piece.count)
      if let verdict = judge.read(piece) { return verdict }
    }
    return judge.finish()
  }

  private func expect(
    _ answer: String, _ plan: HTTPCheckPlan = HTTPCheckPlan(), is expected: CheckOutcome,
    _ location: SourceLocation = #_sourceLocation
  ) {
    for size in [1, 2, 3, 7, 100_000] {
      let found = verdict(answer, plan, pieces: size)
      #expect(found == expected, "in pieces of \(size)", sourceLocation: location)
    }
  }

  @Test func theStatusDecides() {
    expect("HTTP/1.1 200 OK\r\n\r\n", is: .good)
    expect("HTTP/1.1 399 \r\nA: b\r\n\r\n", is: .good)
    expect("HTTP/1.0 204\r\n\r\n", is: .good)
    expect("HTTP/1.1 404 Not Found\r\n\r\n", is: .failed(.status(404)))
    let plan = HTTPCheckPlan(statuses: [200...200, 500...503])
    expect("HTTP/1.1 201 Created\r\n\r\n", plan, is: .failed(.status(201)))
    expect("HTTP/1.1 502 Bad\r\n\r\n", plan, is: .good)
    expect("HTTP/1.1 101 Switching\r\n\r\n", is: .failed(.status(101)))
  }

  @Test func interimAnswersAreNotTheAnswer() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    expect(interim + interim + "HTTP/1.1 200 OK\r\n\r\n", is: .good)
    expect(interim + "HTTP/1.1 500 No\r\n\r\n", is: .failed(.status(500)))
    let many = String(repeating: interim, count: AnswerJudge.interimMax + 1)
    expect(many + "HTTP/1.1 200 OK\r\n\r\n", is: .failed(.interim))
    expect(interim, is: .failed(.ended))
  }

  @Test func theBodyIsLookedThroughWhereverItEnds() {
    let plan = HTTPCheckPlan(body: "all well")
    let body = "so far all well here"
    expect("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n\(body)", plan, is: .good)
    expect("HTTP/1.1 200 OK\r\n\r\n\(body)", plan, is: .good)
    expect(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nso far al\r\n"
        + "b;x=y\r\nl well here\r\n0\r\nT: v\r\n\r\n", plan, is: .good)
    expect("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nall well", plan, is: .good)
    // A header field is no body.
    expect(
      "HTTP/1.1 200 OK\r\nX: all well\r\nContent-Length: 2\r\n\r\nno", plan,
      is: .failed(.bodyLacks(bytesMax: nil)))
    // What follows the body is none of it.
    expect(
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nall well", plan,
      is: .failed(.bodyLacks(bytesMax: nil)))
    expect("HTTP/1.1 204 No\r\n\r\nall well", plan, is: .failed(.bodyLacks(bytesMax: nil)))
    expect("HTTP/1.1 500 No\r\n\r\nall well", plan, is: .failed(.status(500)))
  }

  @Test func anAnswerThatIsCutShortIsNone() {
    let plan = HTTPCheckPlan(body: "ok")
    expect("", is: .failed(.ended))
    expect("HTTP/1.1 200 OK\r\nA: b\r\n", is: .failed(.ended))
    expect(
      "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nno", plan, is: .failed(.malformed(.truncated)))
    expect(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nno", plan,
      is: .failed(.malformed(.truncated)))
    // What was wanted has come before the end was missed.
    expect("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", plan, is: .good)
  }

  @Test func whatIsNotHTTPIsToldSo() {
    expect("SSH-2.0-OpenSSH_9\r\n", is: .failed(.malformed(.statusLine)))
    expect("\u{16}\u{3}\u{1}", is: .failed(.malformed(.controlCharacter(0x16))))
    expect("HTTP/2 200\r\n\r\n", is: .failed(.malformed(.version)))
    expect("HTTP/1.1 200 OK\n\n", is: .failed(.malformed(.bareLineFeed)))
    expect(
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
      is: .failed(.malformed(.severalContentLengths)))
  }

  @Test func everythingIsBounded() {
    let small = HTTPCheckPlan(body: "ok", answerBytesMax: 60)
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    #expect(head.utf8.count == 41)
    let filling = String(repeating: "x", count: 19)
    expect(head + filling + "ok", small, is: .failed(.bodyLacks(bytesMax: 60)))
    expect(head + filling.dropLast(2) + "ok", small, is: .good)
    let long = "HTTP/1.1 200 OK\r\nX: \(String(repeating: "y", count: 100))\r\n\r\n"
    expect(long, small, is: .failed(.headTooLong(bytesMax: 60)))
    // A size that nobody could hold is no reason not to look at what comes.
    let huge = HTTPCheckPlan(body: "ok")
    expect("HTTP/1.1 200 OK\r\nContent-Length: \(Int.max)\r\n\r\n..ok", huge, is: .good)
    expect(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n..ok", huge,
      is: .good)
  }

  @Test func theAnswerToHEADHasNoBody() {
    expect(
      "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", HTTPCheckPlan(method: "HEAD"), is: .good)
  }
}
