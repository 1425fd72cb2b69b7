// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Configuration

@Suite struct DiagnosticTests {
  @Test func theTextIsThatOfCompilers() {
    #expect(
      report(routeFile("idel: 5s"))
        == """
        config.yaml:5:5: error: unknown key `idel`
          5 |     idel: 5s
            |     ^~~~
            = did you mean `idle`?

        """)
  }

  @Test(arguments: [
    ("routes: {r: {listen: , to: \"h:1\"}}", false), ("routes:", false), ("null", false),
    ("routes: {r: {listen: \":1\", to: }}", false), ("routes: {r: }", false),
    ("routes: {r: {listen: [\":1\", ], to: [~]}}", false),
    ("routes: {r: {listen: \":1\", to: u}}\nupstreams: {u: {endpoints: }}", false),
    ("log:\nroutes: {r: {listen: \":1\", to: \"h:1\"}}", true),
    ("routes: {r: {listen: \":1\", to: \"h:1\", idle: }}", true),
  ])
  func onlyAKeyThatMayBeLeftOutHasADefaultToKeep(_ text: String, _ isOptional: Bool) {
    let found = report(text)
    #expect(found.contains("a value is missing here"))
    #expect(found.contains("to keep the default, remove the key") == isOptional, "\(found)")
  }

  @Test func thereAreNoLinksInATerminal() {
    let root = Codec<FileDraft>.file.shape
    #expect(
      root.accepted(.terminal).hasPrefix("a mapping with the keys `workers`, `spin`, "))
    guard case .object(let file) = root else { return }
    for field in file.fields {
      #expect(!field.shape.accepted(.terminal).contains("]("), "\(field.name)")
    }
    let found = report("log:\nroutes: {r: {listen: \":1\", to: []}, q: {}}\nupstreams:\n")
    #expect(found.contains("accepted: a mapping with the keys `level`, `format`,"))
    #expect(!found.contains("]("), "\(found)")
  }

  @Test func tabsWideCharactersAndEscapesKeepTheCaretInPlace() {
    func carets(_ line: String, column: Int, length: Int = 1) -> String {
      let excerpt = LineExcerpt(line, column: column, length: length)
      return excerpt.text + "\n" + excerpt.carets
    }
    #expect(carets("a\tb", column: 3) == "a    b\n     ^")
    #expect(carets("日本x", column: 3) == "日本x\n    ^")
    #expect(carets("日本x", column: 1, length: 2) == "日本x\n^~~~")
    #expect(carets("e\u{301}x", column: 3) == "e\u{301}x\n ^")
    #expect(carets("\u{202E}x", column: 2) == "\\u{202E}x\n        ^")
    #expect(carets("\u{1B}[2Jx", column: 5) == "\\u{1B}[2Jx\n         ^")
    #expect(carets("", column: 1) == "\n^")
    #expect(carets("ab", column: 9) == "ab\n  ^")
  }

  @Test(arguments: [1, 40, 99, 100, 101, 150, 500, 999_000, 1_000_000])
  func aLongLineIsAWindowAroundTheCaret(_ column: Int) {
    let line = String(repeating: "a", count: column - 1) + "X" + String(repeating: "b", count: 3000)
    let excerpt = LineExcerpt(line, column: column, length: 5)
    #expect(excerpt.text.unicodeScalars.count <= LineExcerpt.cellsMax + 2)
    let text = Array(excerpt.text)
    #expect(
      excerpt.carets.firstIndex(of: "^").map {
        excerpt.carets.distance(
          from: excerpt.carets.startIndex, to: $0)
      } == text.firstIndex(of: "X"))
  }

  @Test func controlCharactersOfTheFileDoNotReachTheTerminal() {
    let found = report(routeFile("idle: \"\\e[2J\\u202E\""))
    #expect(found.contains("`\\u{1B}[2J\\u{202E}`"))
    #expect(!found.unicodeScalars.contains("\u{1B}"))
    let raw = report(routeFile("idle: \u{202E}x"))
    #expect(!raw.unicodeScalars.contains("\u{202E}"))
  }

  @Test func thereAreAtMostAHundred() {
    let text = (0..<5000).map { "a\($0): 1\n" }.joined()
    let found = decode(text)
    #expect(found.diagnostics.count == 100)
    #expect(found.omittedCount == 4901)
    #expect(found.diagnostics.map(\.line) == found.diagnostics.map(\.line).sorted())
    #expect(found.report.hasSuffix("… and 4901 more\n"))
  }

  @Test func theNearestNameIsSuggested() {
    let names = ["listen", "backlog", "max_sessions", "to"]
    #expect(suggestion(for: "lisen", among: names) == "listen")
    #expect(suggestion(for: "max-sesions", among: names) == "max_sessions")
    #expect(suggestion(for: "ot", among: names) == "to")
    #expect(suggestion(for: "completely", among: names) == nil)
    #expect(suggestion(for: "", among: names) == nil)
    #expect(editDistance(Array("kitten".utf8), Array("sitting".utf8)) == 3)
  }
}
