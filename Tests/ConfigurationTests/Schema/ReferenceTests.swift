// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Configuration

@Suite struct ReferenceTests {
  @Test func theTablesInTheDocumentationAreTheGeneratedOnes() throws {
    let path = "docs/configuration.md"
    let begin = "<!-- generated: begin -->\n"
    let end = "<!-- generated: end -->\n"
    let text = repositoryFile(path)
    let head = try #require(text.range(of: begin)).upperBound
    let tail = try #require(text.range(of: end)).lowerBound
    expectGenerated(path, text[..<head] + "\n" + referenceMarkdown() + "\n" + text[tail...])
  }

  @Test(arguments: [("docs/configuration.md", 2), ("docs/health.md", 3)])
  func theExamplesInTheDocumentationDecode(_ path: String, _ expected: Int) {
    var count = 0
    var rest = repositoryFile(path)[...]
    while let start = rest.range(of: "```yaml\n")?.upperBound,
      let end = rest[start...].range(of: "```")
    {
      #expect(report(String(rest[start..<end.lowerBound])) == "")
      rest = rest[end.upperBound...]
      count += 1
    }
    #expect(count == expected)
  }

  @Test func whatCheckCannotKnowIsSaid() throws {
    let text = referenceMarkdown()
    let row = try #require(text.split(separator: "\n").first { $0.hasPrefix("| `spin` |") })
    #expect(row.contains("CPU quota"))
  }

  @Test func everyLinkLeadsToASection() {
    let text = referenceMarkdown()
    let anchors = text.split(separator: "\n").filter { $0.hasPrefix("### ") }.map { line in
      String(line.dropFirst(4).lowercased().map { $0 == " " ? "-" : $0 })
    }
    var rest = text[...]
    var links: Set<String> = []
    while let start = rest.range(of: "](#")?.upperBound,
      let end = rest[start...].firstIndex(of: ")")
    {
      links.insert(String(rest[start..<end]))
      rest = rest[end...]
    }
    #expect(links.isSubset(of: anchors), "\(links.subtracting(anchors))")
    #expect(links.count > 8)
  }
}

extension StringProtocol {
  /// Where `pattern` stands first.
  func range(of pattern: String) -> Range<Index>? {
    var start = startIndex
    while start < endIndex {
      if self[start...].hasPrefix(pattern) {
        return start..<index(start, offsetBy: pattern.count)
      }
      start = index(after: start)
    }
    return nil
  }
}
