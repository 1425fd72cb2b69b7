// SPDX-License-Identifier: Apache-2.0
import Balancing
import Testing

@testable import Matching

@Suite struct TextFinderTests {
  @Test(arguments: [
    ("ok", "it is ok.", true), ("ok", "o k", false), ("aab", "aaab", true),
    ("abab", "abaabab", true), ("ababc", "abababc", true), ("ü", "grün", true), ("x", "", false),
  ])
  func itFindsWhatIsThere(_ text: String, _ body: String, _ isThere: Bool) {
    var finder = TextFinder(text)
    finder.read(Array(body.utf8)[...])
    #expect(finder.isFound == isThere)
  }

  @Test func itMakesNoDifferenceHowTheBytesAreCut() {
    for seed in UInt64(0)..<300 {
      var random = SplitMix64(seed: seed)
      func letters(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in 0x61 + UInt8(random.next(below: 2)) }
      }
      let wanted = letters(1 + Int(random.next(below: 8)))
      let body = letters(Int(random.next(below: 60)))
      let isThere = body.indices.contains { body[$0...].starts(with: wanted) }
      var finder = TextFinder(String(decoding: wanted, as: UTF8.self))
      var rest = body[...]
      while !rest.isEmpty {
        let piece = rest.prefix(1 + Int(random.next(below: 5)))
        finder.read(piece)
        rest = rest.dropFirst(piece.count)
      }
      #expect(finder.isFound == isThere, "seed \(seed)")
    }
  }
}
