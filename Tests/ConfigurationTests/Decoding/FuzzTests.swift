// SPDX-License-Identifier: Apache-2.0
// Mutated files: whatever a file holds, decoding it ends, soon, without a crash, and what is
// refused is refused with a place inside the file. SLUICE_FUZZ_FILES says how many (1000), and
// SLUICE_FUZZ_SEED where to start, to see one again.

import Glibc
import Testing

@testable import Configuration

@Suite struct FuzzTests {
  @Test(.timeLimit(.minutes(10))) func mutatedFilesAreDecodedOrRefusedWithAPlace() throws {
    let count = number("SLUICE_FUZZ_FILES") ?? 1000
    let first = UInt64(number("SLUICE_FUZZ_SEED") ?? 1)
    let bases = [Array(repositoryFile("config.yaml").utf8), Array(richFile.utf8)]
    try #require(!bases[0].isEmpty)
    for seed in first..<(first + UInt64(count)) {
      var mutator = Mutator(seed: seed)
      let bytes = mutator.mutated(bases)
      let decoded = decodePlan(bytes, fileName: "f") { ["DB": "db", "N": "3"][$0] }
      try check(decoded, bytes, seed: seed)
    }
  }

  private func check(_ decoded: DecodedPlan, _ bytes: [UInt8], seed: UInt64) throws {
    let errors = decoded.diagnostics.filter { $0.severity == .error }
    #expect((decoded.plan == nil) == !errors.isEmpty, "seed \(seed)")
    let lines = SourceText.lines(
      of: bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? bytes[3...] : bytes[...])
    for diagnostic in decoded.diagnostics {
      try #require((1...lines.count).contains(diagnostic.line), "seed \(seed): \(diagnostic)")
      let width = lines[diagnostic.line - 1].unicodeScalars.count
      #expect((1...(width + 1)).contains(diagnostic.column), "seed \(seed): \(diagnostic)")
    }
    let hasControl = decoded.report.unicodeScalars.contains {
      $0 != "\n" && ($0.value < 0x20 || $0.value == 0x7F)
    }
    #expect(!hasControl, "seed \(seed)")
  }

  private func number(_ name: String) -> Int? {
    getenv(name).flatMap { Int(String(cString: $0)) }
  }
}

/// Breaks files.
private struct Mutator {
  private var random: SeededGenerator

  private static let tokens = [
    "[", "]", "{", "}", ": ", "- ", "? ", "*a", "&a ", "!!str ", "!x ", "<<: ", "---\n", "...\n",
    "%YAML\n",
    "|\n", ">\n", "\"", "'", "#", "\t", "\n", "\r\n", "\u{85}", "\u{2028}", "\u{FEFF}", "${",
    "${N}", "$$",
    "\\x00", "\\u202E", ", ", "off", "5s", ":80", "[::]:80", "\u{0}", "日本", "&t [*t, *t]", "@", "`",
    "012",
  ]

  init(seed: UInt64) {
    random = SeededGenerator(seed: seed)
  }

  mutating func mutated(_ bases: [[UInt8]]) -> [UInt8] {
    var bytes = bases[index(bases.count)]
    for _ in 0...index(6) {
      switch index(8) {
      case 0 where !bytes.isEmpty: bytes[index(bytes.count)] ^= 1 << UInt8(index(8))
      case 1 where !bytes.isEmpty: bytes[index(bytes.count)] = UInt8(index(256))
      case 2: bytes.removeSubrange(span(bytes.count, upTo: 20))
      case 3: duplicateLines(&bytes)
      case 4: bytes.removeSubrange(span(bytes.count, upTo: 400))
      case 5:
        let part = Array(bytes[span(bytes.count, upTo: 60)])
        bytes.insert(contentsOf: part, at: index(bytes.count + 1))
      default:
        let token = Self.tokens[index(Self.tokens.count)]
        let times = index(40) == 0 ? 200 : 1
        let place = index(bytes.count + 1)
        for _ in 0..<times { bytes.insert(contentsOf: token.utf8, at: place) }
      }
    }
    return bytes
  }

  private mutating func duplicateLines(_ bytes: inout [UInt8]) {
    var lines = bytes.split(separator: 10, omittingEmptySubsequences: false)
    let part = Array(lines[span(lines.count, upTo: 5)])
    lines.insert(contentsOf: part, at: index(lines.count + 1))
    bytes = Array(lines.joined(separator: [10]))
  }

  private mutating func index(_ count: Int) -> Int {
    Int.random(in: 0..<count, using: &random)
  }

  private mutating func span(_ count: Int, upTo length: Int) -> Range<Int> {
    let start = index(count + 1)
    return start..<min(count, start + index(length + 1))
  }
}
