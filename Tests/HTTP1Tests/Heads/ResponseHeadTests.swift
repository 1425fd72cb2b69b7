// SPDX-License-Identifier: Apache-2.0
// Heads of responses, and where their content ends.

import HTTPTypes
import Testing

@testable import HTTP1

@Suite struct ResponseHeadTests {
  @Test func aResponseIsRead() throws {
    let reading = readResponse("HTTP/1.1 200 All is well\r\nContent-Length: 2\r\nX: y\r\n\r\nok")
    let head = try #require(reading.value)
    #expect(head.response.status.code == 200)
    #expect(head.response.status.reasonPhrase == "All is well")
    #expect(head.response.headerFields[HTTPField.Name("x")!] == "y")
    #expect(head.framing == .length(2))
    #expect(head.keepsConnection)
    #expect(!head.isInterim)
    guard case .complete(_, let rest) = reading else { return }
    #expect(rest == Array("ok".utf8))
  }

  @Test(arguments: ["HTTP/1.1 204", "HTTP/1.1 204 ", "HTTP/1.1 204  \tx y", "HTTP/1.1 204 ä"])
  func theReasonIsOptional(_ line: String) {
    #expect(readResponse(line + "\r\n\r\n").value?.response.status.code == 204)
  }

  @Test(arguments: [
    ("HTTP/1.1", MessageError.statusLine), ("HTTP/1.1 20", .statusLine),
    ("HTTP/1.1 2000", .statusLine), ("HTTP/1.1 099 x", .statusLine),
    ("HTTP/1.1 600 x", .statusLine), ("HTTP/1.1  200 x", .statusLine), ("", .statusLine),
    ("HTTP/1.1 2x0", .statusLine), ("ICY 200 OK", .version), ("HTTP/2 200", .version),
    ("HTTP/2.0 200", .versionNotSupported), ("SSH-2.0-x y", .version),
    ("HTTP/1.1 200 \u{1}", .controlCharacter(1)),
  ])
  func otherFirstLinesAreRefused(_ line: String, _ error: MessageError) {
    #expect(readResponse(line + "\r\n\r\n") == .refused(error))
  }

  @Test(arguments: [
    ("200", "", HTTPRequest.Method.get, BodyFraming.untilClose),
    ("200", "Content-Length: 5", .get, .length(5)),
    ("200", "Content-Length: 0", .get, .none),
    ("200", "Transfer-Encoding: chunked", .get, .chunked),
    ("404", "Content-Length: 5", .post, .length(5)),
    ("200", "Content-Length: 5", .head, .none),
    ("200", "Transfer-Encoding: chunked", .head, .none),
    ("204", "Content-Length: 5", .get, .none),
    ("304", "Content-Length: 5", .get, .none),
    ("100", "Content-Length: 5", .get, .none),
    ("101", "", .get, .none),
    ("200", "", .connect, .none),
    ("400", "Content-Length: 5", .connect, .length(5)),
  ])
  func theContentEndsWhereStatusMethodAndFieldsSay(
    _ status: String, _ field: String, _ method: HTTPRequest.Method, _ framing: BodyFraming
  ) {
    let line = field.isEmpty ? "" : field + "\r\n"
    let head = readResponse("HTTP/1.1 \(status) X\r\n\(line)\r\n", answering: method).value
    #expect(head?.framing == framing)
  }

  @Test(arguments: [
    ("Content-Length: 1\r\nContent-Length: 2", MessageError.severalContentLengths),
    ("Content-Length: 1\r\nTransfer-Encoding: chunked", .lengthAndCoding),
    ("Transfer-Encoding: gzip", .codingWithoutEnd),
    ("Transfer-Encoding: gzip, chunked", .codingNotSupported),
    ("Content-Length: -1", .malformedContentLength), ("X: y\r\n z", .foldedField),
  ])
  func ambiguousContentIsRefused(_ lines: String, _ error: MessageError) {
    #expect(readResponse("HTTP/1.1 200 OK\r\n\(lines)\r\n\r\n") == .refused(error))
  }

  @Test func aConnectionThatEndsTheContentIsNotKept() {
    #expect(readResponse("HTTP/1.1 200 OK\r\n\r\n").value?.keepsConnection == false)
    #expect(
      readResponse("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n")
        .value?.keepsConnection == false)
    #expect(
      readResponse("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n")
        .value?.keepsConnection == true)
  }

  @Test func interimResponsesComeBeforeTheFinalOne() throws {
    var reader = ResponseHeadReader(answering: .get)
    var input = Array(
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nX: y\r\n\r\nHTTP/1.1 204 No\r\n\r\n".utf8
    )[...]
    #expect(try reader.read(&input)?.isInterim == true)
    #expect(try reader.read(&input)?.isInterim == true)
    let last = try #require(try reader.read(&input))
    #expect(!last.isInterim)
    #expect(last.response.headerFields.isEmpty, "nothing is left of the heads before")
    #expect(input.isEmpty)
    let switching = readResponse("HTTP/1.1 101 Switching\r\n\r\n").value
    #expect(switching?.isInterim == false)
    #expect(switching?.keepsConnection == false)
  }

  @Test func theHeadIsBounded() {
    #expect(
      readResponse("HTTP/1.1 200 OK\r\nX: y\r\n\r\n", limits: HeadLimits(bytesMax: 20))
        == .refused(.headTooLong(bytesMax: 20)))
    #expect(
      readResponse("HTTP/1.1 200 OK\r\nX: y\r\nX: z\r\n\r\n", limits: HeadLimits(fieldsMax: 1))
        == .refused(.tooManyFields(max: 1)))
  }
}
