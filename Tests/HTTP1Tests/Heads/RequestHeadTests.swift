// SPDX-License-Identifier: Apache-2.0
// Heads of requests: what is taken, and that everything ambiguous is refused, with its reason.

import HTTPTypes
import Testing

@testable import HTTP1

@Suite struct RequestHeadTests {
  private static let plain = "GET /metrics?x=%20 HTTP/1.1\r\nHost: localhost:9901\r\n\r\n"

  @Test func aRequestIsRead() throws {
    let head = try #require(
      readRequest(
        "GET /metrics?x=%20 HTTP/1.1\r\nHost: localhost:9901\r\naccept:\t a/b \r\nX-Empty:\r\n"
          + "Accept: c/d\r\n\r\n"
      ).value)
    #expect(head.request.method == .get)
    #expect(head.request.path == "/metrics?x=%20")
    #expect(head.request.authority == "localhost:9901")
    #expect(head.request.scheme == nil)
    #expect(head.request.headerFields[values: .accept] == ["a/b", "c/d"])
    #expect(head.request.headerFields[values: HTTPField.Name("X-Empty")!] == [""])
    #expect(head.request.headerFields.count == 3, "the Host is the authority")
    #expect(head.version == .http11)
    #expect(head.framing == .none)
    #expect(head.keepsConnection)
  }

  @Test func whatFollowsIsLeft() throws {
    let two = readRequest(Self.plain + "GET /next HTTP/1.1\r\n")
    #expect(two.value?.request.path == "/metrics?x=%20")
    guard case .complete(_, let rest) = two else { return }
    #expect(String(decoding: rest, as: UTF8.self) == "GET /next HTTP/1.1\r\n")
  }

  @Test func oneReaderReadsOneRequestAfterTheOther() throws {
    var reader = RequestHeadReader()
    var input = Array((Self.plain + "\r\n" + Self.plain).utf8)[...]
    #expect(reader.isIdle)
    #expect(try reader.read(&input)?.request.path == "/metrics?x=%20")
    #expect(reader.isIdle)
    #expect(try reader.read(&input)?.request.path == "/metrics?x=%20")
    #expect(input.isEmpty)
    input = Array("G".utf8)[...]
    #expect(try reader.read(&input) == nil)
    #expect(!reader.isIdle)
  }

  @Test func oneEmptyLineBeforeARequestIsPassedOver() {
    #expect(readRequest("\r\n" + Self.plain).value != nil)
    #expect(readRequest("\r\n\r\n" + Self.plain) == .refused(.requestLine))
  }

  @Test(arguments: [
    ("GET / HTTP/1.0\r\n\r\n", false),
    ("GET / HTTP/1.0\r\nConnection: x, Keep-Alive\r\n\r\n", true),
    ("GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", false),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", true),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: ,, CLOSE\r\n\r\n", false),
    ("GET / HTTP/1.7\r\nHost: a\r\n\r\n", true),
  ])
  func theConnectionIsKeptAsVersionAndFieldsSay(_ text: String, _ keeps: Bool) {
    #expect(readRequest(text).value?.keepsConnection == keeps)
  }

  @Test(arguments: [
    ("", BodyFraming.none), ("Content-Length: 0", .none), ("Content-Length: 00017", .length(17)),
    ("Transfer-Encoding: CHUNKED", .chunked), ("Transfer-Encoding: , chunked ,", .chunked),
  ])
  func fieldsSayWhereTheContentEnds(_ field: String, _ framing: BodyFraming) {
    let line = field.isEmpty ? "" : field + "\r\n"
    let head = readRequest("POST / HTTP/1.1\r\nHost: a\r\n\(line)\r\n").value
    #expect(head?.framing == framing)
  }

  @Test func theTargetHasOneOfFourForms() throws {
    let absolute = try #require(
      readRequest("GET HTTP://Example.org:80?a/b HTTP/1.1\r\nHost: example.ORG:80\r\n\r\n").value)
    #expect(absolute.request.scheme == "http")
    #expect(absolute.request.path == "/?a/b")
    #expect(absolute.request.authority == "example.ORG:80")
    let bare = try #require(readRequest("GET http://[::1] HTTP/1.0\r\n\r\n").value)
    #expect(bare.request.path == "/")
    #expect(bare.request.authority == "[::1]")
    let all = try #require(readRequest("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").value)
    #expect(all.request.path == "*")
    let tunnel = try #require(readRequest("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n").value)
    #expect(tunnel.request.path == nil)
    #expect(tunnel.request.authority == "a:1")
  }

  @Test(arguments: [
    "*", "a:1", "x", "http:/a", "http://", "http:///x", "ftp://a/", "http://u@a/", "http://a,b/",
    "/%", "/%a", "/%zz", "/a#b", "/\"", "/<", "/\\", "/^", "/`", "/{", "/|", "/ä", "/[",
  ])
  func otherTargetsAreRefused(_ target: String) {
    #expect(readRequest("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n") == .refused(.target))
  }

  @Test(arguments: [
    ("GET /\r\n", MessageError.requestLine), ("GET  / HTTP/1.1\r\n", .requestLine),
    (" GET / HTTP/1.1\r\n", .requestLine), ("GET / HTTP/1.1 \r\n", .requestLine),
    ("GET / x HTTP/1.1\r\n", .requestLine), ("GET\t/\tHTTP/1.1\r\n", .requestLine),
    ("GET / HTTP/1\r\n", .version), ("GET / http/1.1\r\n", .version),
    ("GET / HTTP/1.1x\r\n", .version), ("GET / HTTP/x.1\r\n", .version),
    ("GET / HTTP/2.0\r\n", .versionNotSupported), ("GET / HTTP/0.9\r\n", .versionNotSupported),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", .versionNotSupported),
    ("G(T / HTTP/1.1\r\n", .method), ("GÉT / HTTP/1.1\r\n", .method),
    ("GET / HTTP/1.1\n", .bareLineFeed), ("GET / HTTP/1.1\rX", .bareCarriageReturn),
    ("GET / HTTP/1.1\r\r\n", .bareCarriageReturn), ("\u{16}\u{3}\u{1}", .controlCharacter(0x16)),
    ("GET /\0 HTTP/1.1\r\n", .controlCharacter(0)),
    ("GET /\u{7F} HTTP/1.1\r\n", .controlCharacter(0x7F)),
  ])
  func otherFirstLinesAreRefused(_ text: String, _ error: MessageError) {
    #expect(readRequest(text) == .refused(error))
  }

  @Test(arguments: [
    ("Host : a", MessageError.spaceBeforeColon), ("Host\t: a", .spaceBeforeColon),
    ("Host a", .noColon), (": a", .fieldName), ("Ho st: a", .fieldName), ("Ho(st: a", .fieldName),
    ("Hóst: a", .fieldName), (" Host: a", .foldedField), ("Host: a\r\n b: c", .foldedField),
    ("Host: a\r\n\tb", .foldedField), ("Host: a\nb: c", .bareLineFeed),
    ("Host: a\rb: c", .bareCarriageReturn), ("Host: a\u{1}", .controlCharacter(1)),
    ("Host: a\r\nHost: a", .severalHosts), ("X: y", .noHost),
    ("Host: a, b", .malformedHost), ("Host: a b", .malformedHost), ("Host: u@a", .malformedHost),
    ("Host: a:b", .malformedHost), ("Host: a:123456", .malformedHost),
    ("Host: :80", .malformedHost),
    ("Host: [::1", .malformedHost), ("Host: [x]", .malformedHost), ("Host: [::1]x", .malformedHost),
    ("Host: ::1", .malformedHost), ("Host: a/b", .malformedHost), ("Host: a\\b", .malformedHost),
    ("Host: a\r\nContent-Length: 1\r\nContent-Length: 1", .severalContentLengths),
    ("Host: a\r\nContent-Length: 1, 1", .severalContentLengths),
    ("Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked", .lengthAndCoding),
    ("Host: a\r\nTransfer-Encoding: gzip, chunked", .codingNotSupported),
    ("Host: a\r\nTransfer-Encoding: gzip", .codingWithoutEnd),
    ("Host: a\r\nTransfer-Encoding: chunked, chunked", .codingWithoutEnd),
    ("Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x", .codingWithoutEnd),
    ("Host: a\r\nTransfer-Encoding: xchunked", .codingWithoutEnd),
    ("Host: a\r\nTransfer-Encoding:", .codingWithoutEnd),
  ])
  func otherFieldsAreRefused(_ lines: String, _ error: MessageError) {
    #expect(readRequest("GET / HTTP/1.1\r\n\(lines)\r\n\r\n") == .refused(error))
  }

  @Test(arguments: ["", "-1", "+1", "1.5", "0x1", "1 1", "99999999999999999999", "१", "a"])
  func lengthsAreDecimalNumbers(_ length: String) {
    #expect(
      readRequest("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: \(length)\r\n\r\n")
        == .refused(.malformedContentLength))
  }

  @Test func theTargetsHostIsTheHost() {
    #expect(
      readRequest("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n") == .refused(.differentHosts))
    #expect(
      readRequest("GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n") == .refused(.differentHosts))
  }

  @Test func anOldVersionHasNoCoding() {
    #expect(
      readRequest("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n")
        == .refused(.codingInOldVersion))
  }

  @Test func theHeadIsBounded() {
    let exactly = HeadLimits(bytesMax: Self.plain.utf8.count, fieldsMax: 1)
    #expect(readRequest(Self.plain, limits: exactly).value != nil)
    let less = HeadLimits(bytesMax: Self.plain.utf8.count - 1)
    #expect(
      readRequest(Self.plain, limits: less) == .refused(.headTooLong(bytesMax: less.bytesMax)))
    let target = "GET /" + String(repeating: "a", count: 100)
    #expect(
      readRequest(target, limits: HeadLimits(bytesMax: 64))
        == .refused(.startLineTooLong(bytesMax: 64)))
    #expect(
      readRequest(Self.plain, limits: HeadLimits(fieldsMax: 0))
        == .refused(.tooManyFields(max: 0)))
  }

  @Test func theBoundIsOfEachHead() throws {
    var reader = RequestHeadReader(limits: HeadLimits(bytesMax: Self.plain.utf8.count + 2))
    for _ in 0..<10 {
      var input = Array(("\r\n" + Self.plain).utf8)[...]
      #expect(try reader.read(&input) != nil)
    }
  }

  @Test func everyErrorHasAStatusAndASentence() {
    let errors: [(MessageError, Int)] = [
      (.bareLineFeed, 400), (.controlCharacter(3), 400), (.startLineTooLong(bytesMax: 1), 414),
      (.headTooLong(bytesMax: 1), 431), (.tooManyFields(max: 1), 431),
      (.contentTooLong(bytesMax: 1), 413), (.codingNotSupported, 501),
      (.versionNotSupported, 505), (.severalHosts, 400),
    ]
    for (error, status) in errors {
      #expect(error.status.code == status)
      #expect(!"\(error)".isEmpty && !"\(error)".hasSuffix("."))
    }
  }
}
