// SPDX-License-Identifier: Apache-2.0
// Quotes that were forgotten. YAML lets a quoted text go on over lines, so one that is not closed
// ends at the next quote, lines later, and libyaml finds fault with what stands behind that one. So
// the quotes up to there are matched here once more, to find out where the text began.

/// Where the quoted text begins that ends right before `mark`; `nil` when none ends there.
func quotedTextStart(before mark: Mark, lines: [String]) -> Mark? {
  guard lines.indices.contains(mark.line - 1) else { return nil }
  var walk = QuoteWalk()
  for (index, line) in lines[..<(mark.line - 1)].enumerated() {
    walk.read(line.unicodeScalars[...], line: index + 1)
  }
  walk.read(lines[mark.line - 1].unicodeScalars.prefix(mark.column - 1), line: mark.line)
  return walk.closedAtTheEnd
}

/// Follows quotes through lines. Knows of YAML what matters for that: where a quote opens a text
/// and where it is a part of one, escapes, and comments.
private struct QuoteWalk {
  private var open: (quote: Unicode.Scalar, start: Mark)?
  /// Where the text began that was closed last, if nothing but spaces came since, in the last line.
  private(set) var closedAtTheEnd: Mark?

  mutating func read(_ line: Substring.UnicodeScalarView, line number: Int) {
    var previous: Unicode.Scalar = "\n"
    /// The last character that is no space.
    var last: Unicode.Scalar = "\n"
    var isEscaped = false
    closedAtTheEnd = nil
    for (index, scalar) in line.enumerated() {
      defer { previous = scalar }
      if let (quote, start) = open {
        if isEscaped {
          isEscaped = false
        } else if scalar == "\\", quote == "\"" {
          isEscaped = true
        } else if scalar == quote {
          open = nil
          closedAtTheEnd = start
          last = scalar
        }
        continue
      }
      if scalar == " " || scalar == "\t" { continue }
      if scalar == "#", " \t\n".unicodeScalars.contains(previous) { return }
      if scalar == "'", previous == "'", let start = closedAtTheEnd {
        // Two of them are one inside the text.
        open = (scalar, start)
      } else if scalar == "\"" || scalar == "'", Self.opens(after: last, previous) {
        open = (scalar, Mark(line: number, column: index + 1))
      }
      // In JSON's `"key":"value"` the second text needs no space before it.
      last = scalar == ":" && closedAtTheEnd != nil ? "," : scalar
      closedAtTheEnd = nil
    }
  }

  private static func opens(after last: Unicode.Scalar, _ previous: Unicode.Scalar) -> Bool {
    switch last {
    case "\n", "[", "{", ",": true
    case ":", "-", "?": previous != last
    default: false
    }
  }
}

/// `listen:":80"`, `listen::80`: a line whose key has no space after its colon, which YAML reads as
/// text that goes on in the next line.
func missingSpace(inLine number: Int, of lines: [String]) -> SyntaxFailure? {
  guard lines.indices.contains(number - 1) else { return nil }
  let line = lines[number - 1].unicodeScalars
  var rest = line.drop { $0 == " " }
  let isItem = rest.starts(with: "- ".unicodeScalars)
  if isItem { rest = rest.dropFirst(2).drop { $0 == " " } }
  let start = line.count - rest.count
  let key = rest.prefix { isName(String($0)) }
  rest = rest.dropFirst(key.count)
  guard key.first.map({ $0.isASCII && isLetter(UInt8($0.value)) }) == true, rest.first == ":"
  else { return nil }
  var value = String(rest.dropFirst())
  let bytes = Array(value.utf8)
  if let comment = firstIndex(of: " #", in: bytes) {
    value = String(decoding: bytes[..<comment], as: UTF8.self)
  }
  while value.last == " " { value.removeLast() }
  guard let first = value.first, first != " ", !value.hasPrefix("//") else { return nil }
  // `- h:1` is an address.
  let isQuoted = first == "\"" || first == "'"
  guard
    isQuoted
      || !isItem && firstIndex(of: ": ", in: Array(value.utf8)) == nil && !value.hasSuffix(":")
  else { return nil }
  let isSecret = hiddenStart(in: lines[number - 1]) != nil
  let shown = isSecret ? "…" : escaped(value, scalarsMax: 60)
  return SyntaxFailure(
    range: SourceRange(
      start: Mark(line: number, column: start + 1),
      end: Mark(line: number, column: start + key.count + 2)),
    message: "a space is missing after `\(String(key)):`",
    hints: ["write `\(String(key)): \(shown)`"])
}
