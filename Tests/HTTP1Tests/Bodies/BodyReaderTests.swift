// SPDX-License-Identifier: Apache-2.0
// Contents: by length, in chunks, until the connection ends; and their bounds.

import HTTPTypes
import Testing

@testable import HTTP1

@Suite struct BodyReaderTests {
  private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

  @Test func aLengthIsKeptToTheByte() throws {
    #expect(
      try readContent(.length(5), "hello, world")
        == .complete(bytes("hello"), rest: bytes(", world")))
    #expect(try readContent(.length(5), "hell") == .incomplete)
    var none = try BodyReader(.none, bytesMax: 0)
    #expect(none.isComplete)
    try none.finish()
  }

  @Test(arguments: [
    ("0\r\n\r\n", ""), ("5\r\nhello\r\n0\r\n\r\n", "hello"),
    ("5\r\nhello\r\n00007\r\n, world\r\n000\r\n\r\n", "hello, world"),
    ("A;name=value;x=\"y z\"\r\n0123456789\r\n0 ; x\r\nTrailer: x\r\nT: y\r\n\r\n", "0123456789"),
    ("a\r\n0123456789\r\n0\r\n\r\n", "0123456789"), ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
  ])
  func chunksArePutTogether(_ text: String, _ content: String) throws {
    #expect(
      try readContent(.chunked, text + "next") == .complete(bytes(content), rest: bytes("next")))
  }

  @Test(arguments: [
    ("\r\n", MessageError.chunkSize), ("x\r\n", .chunkSize), ("-1\r\n", .chunkSize),
    ("+1\r\n", .chunkSize), ("0x1\r\n", .chunkSize), (" 1\r\n", .chunkSize), ("1 \r\n", .chunkSize),
    ("1 x\r\n", .chunkSize), (";x\r\n", .chunkSize), ("1x;\r\n", .chunkSize),
    ("1000000000000000\r\n", .chunkSize), ("0000000000000001\r\n", .chunkSize),
    ("1\nx\r\n", .bareLineFeed), ("1\rx", .bareCarriageReturn), ("1;\u{2}", .controlCharacter(2)),
    ("1\r\nxy\r\n", .chunkEnd), ("1\r\nx\n", .bareLineFeed), ("1\r\nx0\r\n", .chunkEnd),
    ("0\r\nx\r\n\r\n", .noColon), ("0\r\n x: y\r\n", .foldedField),
    ("0\r\nx : y\r\n", .spaceBeforeColon),
    ("0\r\nx: y\n", .bareLineFeed),
  ])
  func otherChunksAreRefused(_ text: String, _ error: MessageError) throws {
    #expect(try readContent(.chunked, text) == .refused(error))
  }

  @Test func whatDoesNotShowIsBoundedToo() throws {
    let long = String(repeating: "x", count: BodyReader.trailerBytesMax)
    #expect(
      try readContent(.chunked, "1;" + long.prefix(400))
        == .refused(.chunkLineTooLong(bytesMax: BodyReader.chunkLineBytesMax)))
    var reader = try BodyReader(.chunked, bytesMax: 10)
    var content: [UInt8] = []
    #expect(throws: MessageError.trailerTooLong(bytesMax: BodyReader.trailerBytesMax)) {
      var input = bytes("0\r\nx: " + long)[...]
      try reader.read(&input, into: &content)
    }
    reader = try BodyReader(.chunked, bytesMax: 10)
    #expect(throws: MessageError.tooManyFields(max: BodyReader.trailerFieldsMax)) {
      var input = bytes("0\r\n" + String(repeating: "x:\r\n", count: 101))[...]
      try reader.read(&input, into: &content)
    }
  }

  @Test func theContentIsBounded() throws {
    let error = MessageError.contentTooLong(bytesMax: 5)
    #expect(throws: error) { try BodyReader(.length(6), bytesMax: 5) }
    #expect(try readContent(.length(5), "12345", bytesMax: 5).value == bytes("12345"))
    #expect(
      try readContent(.chunked, "3\r\n123\r\n2\r\n45\r\n0\r\n\r\n", bytesMax: 5).value
        == bytes("12345"))
    #expect(try readContent(.chunked, "3\r\n123\r\n3\r\n", bytesMax: 5) == .refused(error))
    #expect(try readContent(.untilClose, "12345", bytesMax: 5) == .incomplete)
    #expect(try readContent(.untilClose, "123456", bytesMax: 5) == .refused(error))
  }

  @Test func theEndOfTheStreamCompletesOnlyWhatEndsWithIt() throws {
    var content: [UInt8] = []
    var input = bytes("abc")[...]
    var open = try BodyReader(.untilClose, bytesMax: 10)
    try open.read(&input, into: &content)
    #expect(!open.isComplete)
    try open.finish()
    #expect(open.isComplete)
    #expect(content == bytes("abc"))
    for (framing, part) in [(BodyFraming.length(5), "abcd"), (.chunked, "1\r\na\r\n0\r\n")] {
      var reader = try BodyReader(framing, bytesMax: 10)
      var input = bytes(part)[...]
      try reader.read(&input, into: &content)
      #expect(throws: MessageError.truncated) { try reader.finish() }
    }
  }
}
