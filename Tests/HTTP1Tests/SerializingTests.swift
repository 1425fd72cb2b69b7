// SPDX-License-Identifier: Apache-2.0
// Messages to bytes: exact texts, and that what is written can be read.

import HTTPTypes
import Testing

@testable import HTTP1

@Suite struct SerializingTests {
  @Test func aRequestIsWritten() throws {
    let request = HTTPRequest(
      method: .get, scheme: nil, authority: "db-0:80", path: "/health?x=1",
      headerFields: [.accept: "*/*", HTTPField.Name("X-Y")!: ""])
    let bytes = try request.serialized()
    #expect(
      String(decoding: bytes, as: UTF8.self)
        == "GET /health?x=1 HTTP/1.1\r\nHost: db-0:80\r\nAccept: */*\r\nX-Y: \r\n\r\n")
    let head = try #require(readRequest(String(decoding: bytes, as: UTF8.self)).value)
    #expect(head.request == request)
  }

  @Test(arguments: [nil, "", "x", "/a b", "/a\r\nX: y", "/\u{1}x", "*"])
  func aTargetThatWouldBreakTheLineIsRefused(_ path: String?) {
    let request = HTTPRequest(method: .get, scheme: nil, authority: "a", path: path)
    #expect(throws: MessageError.target) { try request.serialized() }
  }

  @Test(arguments: ["a b", "a\r\nX: y", "a/b", "u@a"])
  func aHostThatWouldBreakTheLineIsRefused(_ host: String) {
    let request = HTTPRequest(method: .get, scheme: nil, authority: host, path: "/")
    #expect(throws: MessageError.malformedHost) { try request.serialized() }
  }

  @Test func valuesCannotBreakTheirLine() throws {
    let request = HTTPRequest(
      method: .options, scheme: nil, authority: nil, path: "*",
      headerFields: [.accept: "a\r\nX: y"])
    let text = String(decoding: try request.serialized(), as: UTF8.self)
    #expect(text == "OPTIONS * HTTP/1.1\r\nHost: \r\nAccept: a  X: y\r\n\r\n")
  }

  @Test func aResponseHasItsLength() {
    let response = HTTPResponse(status: .ok, headerFields: [.contentType: "text/plain"])
    let start = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\n"
    let content = Array("ok\n".utf8)
    #expect(response.serialized(content: content, answering: .get) == Array(start.utf8) + content)
    #expect(response.serialized(content: content, answering: .head) == Array(start.utf8))
    #expect(
      HTTPResponse(status: .noContent).serialized(content: [], answering: .get)
        == Array("HTTP/1.1 204 No Content\r\n\r\n".utf8))
  }

  @Test func whatIsWrittenCanBeRead() throws {
    let content = Array("down\n".utf8)
    let response = HTTPResponse(
      status: .serviceUnavailable, headerFields: [.connection: "close", .allow: "GET, HEAD"])
    let text = String(
      decoding: response.serialized(content: content, answering: .get), as: UTF8.self)
    let reading = readResponse(text)
    let head = try #require(reading.value)
    #expect(head.response.status == .serviceUnavailable)
    #expect(head.response.headerFields[.allow] == "GET, HEAD")
    #expect(head.framing == .length(5))
    #expect(!head.keepsConnection)
  }
}
