// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Configuration

@Suite struct TreeBuilderTests {
  private func first(_ text: String) -> Diagnostic? {
    decode(text).diagnostics.first
  }

  /// Nine levels of ten aliases each stand for a billion values.
  @Test func anAliasBombIsRefusedQuickly() {
    var text = "x-0: &a0 [a, a, a, a, a, a, a, a, a, a]\n"
    for level in 1...9 {
      let aliases = Array(repeating: "*a\(level - 1)", count: 10).joined(separator: ", ")
      text += "x-\(level): &a\(level) [\(aliases)]\n"
    }
    #expect(
      first(text)?.message.hasPrefix("the file holds more than 400000 values") == true)
  }

  @Test(arguments: ["[", "{a: ", "- ", "? "])
  func deepNestingIsRefusedWhereItBegins(_ opening: String) {
    let found = first("a:\n " + String(repeating: opening, count: 100_000))
    #expect(found?.message == "the nesting is deeper than 64 levels")
    // Told at the level that is one too many: the parser, which takes quadratic time, went no further.
    #expect(found?.line == 2)
    #expect((found?.column ?? .max) <= 2 + 65 * opening.count)
  }

  @Test func nestingBehindAliasesCounts() {
    let text = "x-a: &a " + String(repeating: "[", count: 40) + String(repeating: "]", count: 40)
    let inner = String(repeating: "[", count: 40) + "*a" + String(repeating: "]", count: 40)
    #expect(first(text + "\nx-b: " + inner)?.message == "the nesting is deeper than 64 levels")
  }

  @Test func anAliasInsideItsOwnValueIsRefused() {
    #expect(
      first("x-a: &a [*a]")?.message == "the alias `*a` stands for a value that it is in")
  }

  @Test(arguments: ["a: 1\n---\nb: 2", "a: 1\n...\n---\nb: 2", "---\n---\n"])
  func aSecondDocumentIsRefused(_ text: String) {
    #expect(first(text)?.message == "a second YAML document starts here")
  }

  @Test(arguments: ["", "\n", "# nothing\n", "---\n", "\u{FEFF}", "null", "5", "[]"])
  func aFileWithoutAMappingIsRefused(_ text: String) {
    let found = decode(text)
    #expect(found.plan == nil)
    #expect(found.diagnostics.count == 1)
  }

  @Test(arguments: [0, 1, 7, 8, 9, 10, 11, 30])
  func aDuplicateIsFoundHoweverManyKeysThereAre(_ position: Int) {
    let keys = (0...30).map { "  k\($0): 1\n" } + ["  k\(position): 2\n"]
    let found = first("x-a:\n" + keys.joined() + "routes: {r: {listen: \":1\", to: \"h:1\"}}")
    #expect(found?.message == "the key `k\(position)` stands here a second time")
    #expect(found?.line == 33)
    #expect(found?.hints == ["the first is in line \(position + 2)"])
  }

  @Test func aMergeKeyMayStandOnlyOnce() {
    let found = first(
      "x-a: &a {b: 1}\nx-c: {<<: *a, d: 1, <<: *a}\nroutes: {r: {listen: \":1\", to: \"h:1\"}}")
    #expect(found?.message == "the key `<<` stands here a second time")
    #expect(found?.line == 2)
    #expect(found?.column == 21)
  }

  @Test func inQuotesAMergeKeyIsAKeyLikeAnyOther() {
    let routes = "routes: {r: {listen: \":1\", to: \"h:1\"}}"
    #expect(first("x-a: &a {b: 1}\nx-c: {\"<<\": 1, <<: *a}\n" + routes) == nil)
    let twice = first("x-a: &a {b: 1}\nx-c: {\"<<\": 1, '<<': 2}\n" + routes)
    #expect(twice?.message == "the key `<<` stands here a second time")
  }

  @Test func duplicateKeysShowTheFirst() {
    let found = first(
      "x-a:\n  b: 1\n  c: 2\n  \"b\": 3\nroutes: {r: {listen: \":1\", to: \"h:1\"}}")
    #expect(found?.message == "the key `b` stands here a second time")
    #expect(found?.hints == ["the first is in line 2"])
    #expect(found?.line == 4)
  }

  @Test func mergeKeysKeepWhatIsThere() throws {
    let plan = try #require(
      decode(
        """
        x-a: &a {idle: 1s, flush_timeout: 2s}
        x-b: &b {idle: 3s, backlog: 5}
        routes:
          r: {<<: [*a, *b], listen: ":1", to: "h:1", flush_timeout: 4s}
        """
      ).plan)
    #expect(plan.routes[0].idle == .seconds(1))
    #expect(plan.routes[0].flushTimeout == .seconds(4))
    #expect(plan.routes[0].backlog == 5)
  }

  @Test func aFaultBehindAnAliasIsToldOnce() {
    let found = decode(
      """
      x-a: &a {idle: 5}
      routes:
        r: {<<: *a, listen: ":1", to: "h:1"}
        s: {<<: *a, listen: ":2", to: "h:1"}
      """)
    #expect(found.diagnostics.map(\.line) == [1])
  }

  @Test func coreTagsOfTheRightKindAreAccepted() {
    let text = "!!map\nroutes: !!map {r: {listen: !!seq [!!str \":1\"], to: \"h:1\"}}"
    #expect(decode(text).report == "")
    #expect(messages("x: !foo 1").contains("the tag `!foo` is not supported here"))
    #expect(
      messages("x: !!python/none 1").contains("the tag `!!python/none` is not supported here"))
  }

  @Test func manyDirectivesAreRefusedQuickly() {
    let text = (0..<200_000).map { "%TAG !a\($0)! x\n" }.joined()
    #expect(first(text)?.message == "a line that starts with `%` is a YAML directive")
    #expect(first("a: 1\n...\n" + text)?.line == 3)
  }
}
