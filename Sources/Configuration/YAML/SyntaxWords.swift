// SPDX-License-Identifier: Apache-2.0
// What libyaml's syntax errors mean to the person who wrote the file. Most of them come from a few
// slips: an address or a `${NAME}` without quotes (brackets and braces are YAML's own), a quote that
// is not closed, a colon without its space, a tab, a wrong indentation. The offending line, or one
// above, tells which. What is not recognised keeps libyaml's words.

/// A syntax failure in words that help, at the place that has to be mended.
func explain(_ problem: YAMLProblem, lines: [String]) -> SyntaxFailure {
  let line = lines.indices.contains(problem.mark.line - 1) ? lines[problem.mark.line - 1] : ""
  let found = line.unicodeScalars.dropFirst(problem.mark.column - 1).first
  let quotedStart = quotedTextStart(before: problem.mark, lines: lines)
  if let start = quotedStart, start.line < problem.mark.line {
    return SyntaxFailure(
      range: SourceRange(at: start),
      message: "a quote opened in line \(start.line) is perhaps not closed",
      hints: ["the next quote, which ends its text, is in line \(problem.mark.line)"])
  }
  if problem.words.hasPrefix("found a tab character") || found == "\t" {
    return SyntaxFailure(
      range: SourceRange(at: problem.mark), message: "a tab character cannot indent in YAML",
      hints: ["use spaces"])
  }
  let isHidden = hiddenStart(in: line).map { $0 < problem.mark.column } ?? false
  if let slip = indicatorSlip(problem, found: found, isHidden: isHidden) { return slip }
  if let slip = flowSlip(in: line, at: problem.mark, isAfterQuote: quotedStart != nil) {
    return slip
  }
  let lateQuote =
    quotedStart.map { ["or is the quote in column \($0.column) closed too late?"] } ?? []
  switch problem.words {
  case "mapping values are not allowed in this context":
    if let slip = missingSpace(above: problem.mark.line, of: lines) { return slip }
    return SyntaxFailure(
      range: SourceRange(at: problem.mark), message: "a second `: ` cannot stand here",
      hints: [
        "is the indentation the same as that of the keys around it?",
        "a value that holds `: ` has to be put in quotes",
      ])
  case "could not find expected ':'":
    if let slip = missingSpace(inLine: problem.start.line, of: lines) { return slip }
    return SyntaxFailure(
      range: SourceRange(at: problem.start), message: "a `:` is missing after this key",
      hints: ["write `key: value`, with a space after the colon"])
  case "did not find expected key", "did not find expected '-' indicator":
    if let slip = missingSpace(above: problem.mark.line, of: lines) { return slip }
    return SyntaxFailure(
      range: SourceRange(at: problem.mark), message: "this does not fit what stands around it",
      hints: [
        "is the indentation right? It continues what began in line \(problem.start.line)"
      ] + lateQuote)
  case "did not find expected ',' or '}'", "did not find expected ',' or ']'":
    let bracket = problem.words.hasSuffix("'}'") ? "}" : "]"
    return SyntaxFailure(
      range: SourceRange(at: problem.mark), message: "a `,` or `\(bracket)` is missing here",
      hints: ["the opening bracket is in line \(problem.start.line)"]
        + lateQuote)
  case "found unexpected end of stream":
    return SyntaxFailure(
      range: SourceRange(at: problem.start), message: "the quote that starts here is never closed")
  default:
    let activity = problem.activity.isEmpty ? "" : " \(problem.activity)"
    return SyntaxFailure(
      range: SourceRange(at: problem.mark), message: "YAML syntax:\(activity) \(problem.words)")
  }
}

/// `[::]:80`, `[:80]`, `{address: ${DB}:5432}`: YAML's own brackets where text was meant.
private func flowSlip(in line: String, at mark: Mark, isAfterQuote: Bool) -> SyntaxFailure? {
  let bytes = Array(line.utf8)
  let unquoted = unquotedBytes(of: bytes)
  let secret = hiddenStart(in: line)
  /// Whether what stands at a byte may be a part of a secret, which no hint repeats.
  func isHidden(_ byte: Int) -> Bool {
    secret.map { String(decoding: bytes[..<byte], as: UTF8.self).unicodeScalars.count >= $0 }
      ?? false
  }
  if let dollar = firstIndex(of: "${", in: unquoted), isInFlow(unquoted, before: dollar) {
    let end = unquoted[dollar...].firstIndex { ",]".utf8.contains($0) } ?? unquoted.endIndex
    var text = String(decoding: bytes[dollar..<end], as: UTF8.self)
    // A closing brace too many is that of the mapping around.
    while text.utf8.count(where: { $0 == UInt8(ascii: "}") })
      > text.utf8.count(where: { $0 == UInt8(ascii: "{") }), text.hasSuffix("}")
    {
      text.removeLast()
    }
    return SyntaxFailure(
      range: range(of: dollar, in: bytes, length: 2, line: mark.line),
      message: "between YAML's brackets, `${` has to be put in quotes",
      hints: [isHidden(dollar) ? "write it as \"${NAME}\"" : "write \"\(escaped(text))\""])
  }
  if let address = bracketedAddress(in: unquoted) {
    let text = String(decoding: bytes[address], as: UTF8.self)
    return SyntaxFailure(
      range: range(of: address.lowerBound, in: bytes, length: address.count, line: mark.line),
      message: "an IPv6 address has to be put in quotes: `[` starts a list in YAML",
      hints: isHidden(address.lowerBound) ? [] : ["write \"\(escaped(text))\""])
  }
  let column = mark.column - 1
  let rest = Array(line.unicodeScalars.dropFirst(column))
  if !isAfterQuote, rest.first == ":",
    rest.dropFirst().first.map({ ("0"..."9").contains($0) }) == true
  {
    let digits = rest.dropFirst().prefix { ("0"..."9").contains($0) }
    let text = ":" + String(String.UnicodeScalarView(digits))
    return SyntaxFailure(
      range: SourceRange(
        start: mark, end: Mark(line: mark.line, column: mark.column + digits.count + 1)),
      message: "between YAML's brackets, an address that starts with `:` has to be put in quotes",
      hints: secret.map { column >= $0 } == true ? [] : ["write \"\(text)\""])
  }
  return nil
}

/// The first of the lines right above that are keys without a space after their colon.
private func missingSpace(above line: Int, of lines: [String]) -> SyntaxFailure? {
  var found: SyntaxFailure?
  for number in stride(from: line - 1, to: 0, by: -1) {
    if lines[number - 1].allSatisfy({ $0 == " " }) { continue }
    guard let slip = missingSpace(inLine: number, of: lines) else { break }
    found = slip
  }
  return found
}

/// A first character that means something to YAML.
private func indicatorSlip(
  _ problem: YAMLProblem, found: Unicode.Scalar?, isHidden: Bool
) -> SyntaxFailure? {
  if problem.activity == "while scanning an alias" {
    return SyntaxFailure(
      range: SourceRange(at: problem.start), message: "`*` starts an alias in YAML",
      hints: ["to listen on every address, write `:PORT`", "other text has to be put in quotes"])
  }
  if problem.words == "found character that cannot start any token", let found {
    return SyntaxFailure(
      range: SourceRange(at: problem.mark),
      message: isHidden
        ? "a value cannot start with this in YAML"
        : "\(quoted(String(Character(found)))) cannot start a value in YAML",
      hints: ["put the value in quotes"])
  }
  return nil
}

/// The bytes of a line with everything in quotes, and a comment, blanked out.
private func unquotedBytes(of line: [UInt8]) -> [UInt8] {
  var result = line
  var quote: UInt8?
  for (index, byte) in line.enumerated() {
    if let open = quote {
      if byte == open { quote = nil }
      result[index] = UInt8(ascii: " ")
    } else if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") {
      quote = byte
      result[index] = UInt8(ascii: " ")
    } else if byte == UInt8(ascii: "#"), index == 0 || line[index - 1] == UInt8(ascii: " ") {
      return Array(result[..<index])
    }
  }
  return result
}

private func isInFlow(_ line: [UInt8], before index: Int) -> Bool {
  var level = 0
  for byte in line[..<index] {
    switch byte {
    case UInt8(ascii: "["), UInt8(ascii: "{"): level += 1
    case UInt8(ascii: "]"), UInt8(ascii: "}"): level -= 1
    default: break
    }
  }
  return level > 0
}

/// Where ASCII text first stands in a line.
func firstIndex(of pattern: String, in line: [UInt8]) -> Int? {
  let wanted = Array(pattern.utf8)
  guard line.count >= wanted.count else { return nil }
  return (0...(line.count - wanted.count)).first { line[$0...].starts(with: wanted) }
}

/// The first `[…]` that holds an IPv6 address, with the port after it.
private func bracketedAddress(in line: [UInt8]) -> Range<Int>? {
  for open in line.indices where line[open] == UInt8(ascii: "[") {
    let inside = line[(open + 1)...].prefix {
      isHexadecimalDigit($0) || $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: ".")
    }
    guard inside.count(where: { $0 == UInt8(ascii: ":") }) >= 2 else { continue }
    guard inside.endIndex < line.endIndex, line[inside.endIndex] == UInt8(ascii: "]") else {
      continue
    }
    var end = inside.endIndex + 1
    if end < line.endIndex, line[end] == UInt8(ascii: ":") {
      end += 1
      end += line[end...].prefix(while: isDigit).count
    }
    return open..<end
  }
  return nil
}

private func range(of byte: Int, in line: [UInt8], length: Int, line number: Int) -> SourceRange {
  let column = String(decoding: line[..<byte], as: UTF8.self).unicodeScalars.count + 1
  return SourceRange(
    start: Mark(line: number, column: column), end: Mark(line: number, column: column + length))
}
