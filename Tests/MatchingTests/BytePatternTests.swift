// SPDX-License-Identifier: Apache-2.0
// Patterns: what they find, held beside a slow way to say the same, and what they refuse.

import Balancing
import Testing

@testable import Matching

@Suite struct BytePatternTests {
  private func finds(_ pattern: String, in text: String, ended: Bool = true) throws -> Bool {
    var finder = PatternFinder(try BytePattern(pattern))
    if finder.read(Array(text.utf8)[...]) != nil { return true }
    return ended && finder.finish()
  }

  @Test(arguments: [
    ("ok", "it is ok.", true), ("ok", "o k", false), ("a.c", "xxabc", true),
    ("a.c", "a\nc", false), ("^b", "ab", false), ("^b", "a\nb", true), ("a$", "ab", false),
    ("a$", "a", true), ("a$", "a\r\nb", true), ("a$b", "a\nb", false), ("^$", "", true),
    ("^$", "x", false), ("^$", "x\n\ny", true), ("^ok$", "not\nok\nyes", true),
    ("[0-9]{3}", "12", false), ("[0-9]{3}", "x123", true), ("^[0-9]{2,3} ", "2 12345 x", false),
    ("a{0}b", "b", true), ("(ab){2}", "abab", true), ("(ab){2,}c", "abc", false),
    ("(ab){2,}c", "abababc", true), ("a|bc|d", "xbc", true), ("a|bc|d", "b", false),
    ("(a|b)*c", "ababc", true), ("x(|y)z", "xz", true), ("colou?r", "color", true),
    ("[^a]b", "ab", false), ("[^a]b", "cb", true), ("[]a]x", "]x", true), ("[a-]x", "-x", true),
    ("[a\\]]x", "]x", true), ("\\d\\D\\w\\W\\s\\S", "1a_-\t.", true), ("\\.", "a", false),
    ("\\x41\\x0a", "A\n", true), ("(?i)hello", "HeLLo", true), ("(?i)[a-c]+z", "ABCZ", true),
    ("hello", "HELLO", false), ("ü+x", "üüx", true), ("(?:ä|ö)x", "öx", true),
    ("a+?b", "aab", true), ("[.]", "a", false), ("role:(master|primary)", "role:master", true),
    ("\\0", "\0", true), ("[\\d-]+$", "12-3", true), ("[\\n]", "\n", true),
  ])
  func itFindsWhatIsThere(_ pattern: String, _ text: String, _ isThere: Bool) throws {
    #expect(try finds(pattern, in: text) == isThere)
  }

  @Test(arguments: [
    ("(", "has a `(` without its `)`", 0), ("a)", "has a `)` without its `(`", 1),
    ("[a", "has a `[` without its `]`", 0), ("*a", "repeats nothing", 0),
    ("a**", "repeats a repetition", 2), ("a{2", "without its `}`", 1),
    ("a{x}", "starts no repetition", 1), ("{2}", "repeats nothing", 0),
    ("a{3,2}", "ends before it begins", 1), ("a{1001}", "repeats more than 1000", 1),
    ("[b-a]", "ends before it begins", 1), ("[\\d-z]", "or is none", 1),
    ("a\\", "ends with a `\\`", 1),
    ("\\1", "not supported", 0), ("\\bx", "not supported", 0), ("(?=a)", "not supported", 0),
    ("(?<n>a)", "not supported", 0), ("\\q", "unknown escape", 0), ("\\xg0", "hexadecimal", 0),
    ("[[:alpha:]]", "write `[A-Za-z]`", 1), ("[ä]", "several bytes", 1), ("^*", "between bytes", 0),
    ("((a{100}){100}){100}", "more than 1000 steps", 0), ("[a-\\x", "hexadecimal", 3),
  ])
  func slips(_ pattern: String, _ reason: String, _ position: Int) {
    #expect { try BytePattern(pattern) } throws: { error in
      guard let error = error as? BytePatternError else { return false }
      return error.reason.contains(reason) && error.position == position
    }
  }

  @Test func boundsAreKept() throws {
    #expect(throws: BytePatternError.self) {
      try BytePattern(String(repeating: "a", count: BytePattern.textBytesMax + 1))
    }
    #expect(throws: BytePatternError.self) {
      try BytePattern(String(repeating: "(", count: 60) + String(repeating: ")", count: 60))
    }
    #expect(try BytePattern("a{999}").steps.count == BytePattern.stepsMax)
  }

  @Test func whatMatchesNothingIsKnown() throws {
    for pattern in ["a*", "", "(a|)", "a?", "^", "()*", "(a*)*"] {
      #expect(try BytePattern(pattern).matchesNothing, "\(pattern)")
    }
    for pattern in ["a", "a*b", "$", "a$"] {
      #expect(try !BytePattern(pattern).matchesNothing, "\(pattern)")
    }
  }

  @Test(arguments: [
    ("a", 1), ("a^b", nil), ("$a", nil), ("a$", 1), ("a\n^b", 3), ("a$\r\n^b", 4),
    ("a$(b|\n)c?", 2), ("$^", 0),
    ("(a^b|cd)", 2), ("a{60}", 60), ("[^\\x00-\\xff]", nil), ("x*^y", 1), ("a(^b|$)+", 1),
    ("(a^)*b", 1),
  ])
  func theShortestMatchIsKnown(_ pattern: String, _ bytes: Int?) throws {
    #expect(try BytePattern(pattern).bytesMin == bytes)
  }

  @Test func theShortestMatchIsTheShortestTextThatIsFound() throws {
    let parts = ["a", "b", "^", "$", "\n", "\r", "(a|^)", "b*", "(^b|$)", "[ab]", "a?"]
    var state: UInt64 = 42
    func next(_ count: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % count
    }
    let alphabet = Array("ab\n\r".utf8)
    for _ in 0..<400 {
      let text = (0...next(5)).map { _ in parts[next(parts.count)] }.joined()
      let pattern = try BytePattern(text)
      var texts: [[UInt8]] = [[]]
      var found: Int?
      for length in 0...4 where found == nil {
        let isFound = texts.contains { bytes in
          var finder = PatternFinder(pattern)
          finder.read(bytes[...])
          return finder.finish()
        }
        if isFound { found = length }
        texts = texts.flatMap { bytes in alphabet.map { bytes + [$0] } }
      }
      let least = pattern.bytesMin.flatMap { $0 <= 4 ? $0 : nil }
      #expect(found == least, "\(text.debugDescription)")
    }
  }

  @Test func whatFollowsAMatchIsLeft() throws {
    var finder = PatternFinder(try BytePattern("b+c"))
    let bytes = Array("abbcbc".utf8)
    #expect(finder.read(bytes[...]) == 4)
    // The end of a line is not a part of the match.
    var line = PatternFinder(try BytePattern("^ok$"))
    #expect(line.read(Array("ok\nmore".utf8)[...]) == 2)
  }

  @Test func whereALineEndsIsKnownOnlyByWhatFollows() throws {
    #expect(try !finds("a$", in: "a", ended: false))
    var finder = PatternFinder(try BytePattern("a$"))
    #expect(finder.read([UInt8(ascii: "a")][...]) == nil)
    #expect(finder.read([UInt8(ascii: "\n")][...]) == 0)
  }

  /// Random patterns over a small alphabet, in random text cut into random pieces.
  @Test func itAgreesWithASlowerWay() throws {
    var foundCount = 0
    for seed in UInt64(0)..<3000 {
      var random = SplitMix64(seed: seed)
      let text = pattern(&random, depth: 3)
      guard let pattern = try? BytePattern(text) else { continue }
      var parser = PatternParser(text)
      let tree = try parser.parse()
      let bytes = (0..<Int(random.next(below: 14))).map { _ in
        Array("abc\n".utf8)[Int(random.next(below: 4))]
      }
      let isThere = (0...bytes.count).contains { !tree.ends(in: bytes, from: $0).isEmpty }
      var finder = PatternFinder(pattern)
      var rest = bytes[...]
      while !rest.isEmpty {
        let piece = rest.prefix(1 + Int(random.next(below: 4)))
        rest = rest.dropFirst(piece.count)
        finder.read(piece)
      }
      let isFound = finder.finish()
      #expect(isFound == isThere, "seed \(seed): \(text) in \(bytes)")
      if isFound { foundCount += 1 }
    }
    // A generator that only makes hits, or none, proves nothing.
    #expect((500...2700).contains(foundCount), "\(foundCount)")
  }

  private func pattern(_ random: inout SplitMix64, depth: Int) -> String {
    let count = 1 + Int(random.next(below: 3))
    return (0..<count).map { _ in
      switch random.next(below: depth == 0 ? 5 : 9) {
      case 0, 1: ["a", "b", "c"][Int(random.next(below: 3))]
      case 2: ["[ab]", "[^a]", ".", "\\n"][Int(random.next(below: 4))]
      case 3: "^"
      case 4: "$"
      case 5: "(\(pattern(&random, depth: depth - 1))|\(pattern(&random, depth: depth - 1)))"
      case 6: "(\(pattern(&random, depth: depth - 1)))*"
      case 7: "(\(pattern(&random, depth: depth - 1))){1,2}"
      default: "(\(pattern(&random, depth: depth - 1)))+"
      }
    }.joined()
  }
}

extension PatternTree {
  /// Where matches end that begin at a place.
  fileprivate func ends(in bytes: [UInt8], from start: Int) -> Set<Int> {
    switch self {
    case .nothing: return [start]
    case .take(let set):
      return start < bytes.count && set.contains(bytes[start]) ? [start + 1] : []
    case .lineStart: return start == 0 || bytes[start - 1] == 10 ? [start] : []
    case .lineEnd: return start == bytes.count || [10, 13].contains(bytes[start]) ? [start] : []
    case .sequence(let parts):
      return parts.reduce([start]) { starts, part in
        Set(starts.flatMap { part.ends(in: bytes, from: $0) })
      }
    case .choice(let parts): return Set(parts.flatMap { $0.ends(in: bytes, from: start) })
    case .repetition(let part, let least, let most):
      var ends: Set<Int> = [start]
      for _ in 0..<least { ends = Set(ends.flatMap { part.ends(in: bytes, from: $0) }) }
      var all = ends
      var left = most.map { $0 - least } ?? bytes.count + 1
      while left > 0, !ends.isEmpty {
        ends = Set(ends.flatMap { part.ends(in: bytes, from: $0) })
        all.formUnion(ends)
        left -= 1
      }
      return all
    }
  }
}
