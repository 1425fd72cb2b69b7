// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Configuration

@Suite struct SourceTextTests {
  private func failure(_ bytes: [UInt8]) -> SyntaxFailure? {
    do throws(SyntaxFailure) {
      _ = try SourceText(bytes)
      return nil
    } catch {
      return error
    }
  }

  @Test(
    arguments: [
      [0x80], [0xC0, 0x80], [0xC2], [0xE0, 0x80, 0x80], [0xED, 0xA0, 0x80],
      [0xF4, 0x90, 0x80, 0x80],
      [0xF5, 0x80, 0x80, 0x80], [0xC2, 0x20], [0xFF],
    ] as [[UInt8]])
  func invalidUTF8IsToldWithItsPlace(_ bytes: [UInt8]) {
    let found = failure(Array("a: 1\nü: ".utf8) + bytes + Array(" x\n".utf8))
    #expect(found?.range.start == Mark(line: 2, column: 4))
    #expect(found?.message.contains("(byte 0x\(hexadecimalByte(bytes[0])))") == true)
  }

  @Test func otherEncodingsAreRefusedByName() {
    let utf16: [[UInt8]] = [
      [0xFF, 0xFE, 0x61, 0], [0xFE, 0xFF, 0, 0x61], [0x61, 0, 0x3A, 0], [0, 0x61, 0, 0x3A],
      [0, 0, 0xFE, 0xFF],
    ]
    for bytes in utf16 {
      #expect(failure(bytes)?.message == "the file is not UTF-8 but UTF-16 or UTF-32")
    }
  }

  @Test func controlCharactersAreRefusedByName() {
    #expect(failure(Array("a: \u{0}b".utf8))?.message.hasPrefix("a NUL byte") == true)
    #expect(failure(Array("a: \u{1B}b".utf8))?.message.contains("U+1B") == true)
    #expect(failure(Array("a: \u{FEFF}b".utf8))?.range.start.column == 4)
  }

  @Test func aByteOrderMarkAtTheStartIsNotCounted() {
    let found = decode("\u{FEFF}workers: 0\nroutes: {r: {listen: \":1\", to: \"h:1\"}}\n")
    #expect(found.diagnostics.map(\.column) == [10])
    #expect(found.diagnostics[0].sourceLine == "workers: 0")
  }

  @Test func linesEndAsLibyamlSaysTheyDo() {
    let text = "a\r\nb\rc\nd\u{85}e\u{2028}f\n"
    #expect(SourceText.lines(of: Array(text.utf8)[...]) == ["a", "b", "c", "d", "e", "f", ""])
    let found = decode("x-a: 1\r\nx-b: 1\rworkers: 0\n")
    #expect(found.diagnostics.contains { $0.line == 3 && $0.column == 10 })
  }

  @Test(arguments: [
    "", "a\r\nb\r\n", "a\rb\n\r", "a\r$\n", "ä\r\nab\n", "a\u{85}\\\n", "x%\r\n a%",
  ])
  func faultsAreCountedByTheSameLines(_ start: String) throws {
    let text = start + "abc\u{1}"
    let lines = SourceText.lines(of: Array(text.utf8)[...])
    let range = try #require(failure(Array(text.utf8))?.range)
    #expect(range.start.line == lines.count)
    #expect(range.start.column == lines.last?.unicodeScalars.count)
  }

  @Test(arguments: [
    ("a: b", false), ("a: $b", true), ("a: \"\\x24\"", true), ("ä: %\r\n$", true),
    ("ä: \u{85}", false),
  ])
  func whatMayHoldADollarIsKnown(_ text: String, _ mayHold: Bool) throws {
    #expect(try SourceText(Array(text.utf8)).mayHaveDollars == mayHold)
  }

  @Test func whatIsTooLargeIsRefused() {
    let bytes = [UInt8](repeating: UInt8(ascii: "#"), count: SourceText.bytesMax)
    #expect(failure(bytes) == nil)
    #expect(failure(bytes + [10])?.message.contains("may have at most 4194304 bytes") == true)
  }
}
