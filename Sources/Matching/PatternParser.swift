// SPDX-License-Identifier: Apache-2.0
// The syntax of patterns: the part of what most engines share (POSIX extended expressions and Perl's short
// forms) that `BytePattern` can follow. What it cannot is refused in words, never read as something else.

/// Reads the text of a pattern into a tree.
struct PatternParser {
  private static let depthMax = 50
  private static let repeatMax = 1000

  private let scalars: [Unicode.Scalar]
  private var position = 0
  private var depth = 0
  private var ignoresCase = false

  init(_ text: String) {
    scalars = Array(text.unicodeScalars)
  }

  mutating func parse() throws(BytePatternError) -> PatternTree {
    if accept("(?i)") { ignoresCase = true }
    let tree = try choice()
    // Only a bracket that closes nothing stops it before the end.
    guard position == scalars.count else { throw refusal("has a `)` without its `(`") }
    return tree
  }

  // MARK: Structure

  private mutating func choice() throws(BytePatternError) -> PatternTree {
    var parts = [try sequence()]
    while accept("|") { parts.append(try sequence()) }
    return parts.count == 1 ? parts[0] : .choice(parts)
  }

  private mutating func sequence() throws(BytePatternError) -> PatternTree {
    var parts: [PatternTree] = []
    while let next = peek, next != "|", next != ")" { parts.append(try repetition()) }
    return parts.isEmpty ? .nothing : .sequence(parts)
  }

  private mutating func repetition() throws(BytePatternError) -> PatternTree {
    let start = position
    let part = try atom()
    guard let bounds = try quantifier() else { return part }
    switch part {
    case .lineStart, .lineEnd:
      throw BytePatternError("repeats a place between bytes", at: start)
    default: break
    }
    // How much is taken makes no difference to whether there is a match.
    _ = accept("?")
    let after = position
    if accept("+") || accept("*") || accept("?") {
      throw BytePatternError("repeats a repetition", at: after)
    }
    return .repetition(part, min: bounds.min, max: bounds.max)
  }

  private mutating func quantifier() throws(BytePatternError) -> (min: Int, max: Int?)? {
    if accept("*") { return (0, nil) }
    if accept("+") { return (1, nil) }
    if accept("?") { return (0, 1) }
    let start = position
    guard accept("{") else { return nil }
    guard let least = number() else {
      throw BytePatternError("has a `{` that starts no repetition: write `\\{`", at: start)
    }
    var most: Int? = least
    if accept(",") { most = number() }
    guard accept("}") else {
      throw BytePatternError("has a `{` without its `}`", at: start)
    }
    guard least <= PatternParser.repeatMax, most ?? 0 <= PatternParser.repeatMax else {
      throw BytePatternError("repeats more than \(PatternParser.repeatMax) times", at: start)
    }
    if let most, most < least {
      throw BytePatternError("has a repetition that ends before it begins", at: start)
    }
    return (least, most)
  }

  private mutating func number() -> Int? {
    var value: Int?
    while let digit = peek, ("0"..."9").contains(digit) {
      position += 1
      value = min((value ?? 0) * 10 + Int(digit.value - 48), 1 << 20)
    }
    return value
  }

  private mutating func group() throws(BytePatternError) -> PatternTree {
    let start = position
    position += 1
    if accept("?") {
      guard accept(":") else {
        throw BytePatternError(
          "has a group of a kind that is not supported: only `(…)`, `(?:…)`, and `(?i)` in front",
          at: start)
      }
    }
    depth += 1
    guard depth <= PatternParser.depthMax else {
      throw BytePatternError("has groups in too many groups", at: start)
    }
    let tree = try choice()
    guard accept(")") else { throw BytePatternError("has a `(` without its `)`", at: start) }
    depth -= 1
    return tree
  }

  // MARK: Atoms

  private mutating func atom() throws(BytePatternError) -> PatternTree {
    guard let next = peek else { preconditionFailure("an atom behind the end") }
    switch next {
    case "(": return try group()
    case "[": return try bracket()
    case ".":
      position += 1
      return .take(ByteSet("\n").inverted)
    case "^":
      position += 1
      return .lineStart
    case "$":
      position += 1
      return .lineEnd
    case "\\":
      return set(try escape())
    case "*", "+", "?": throw refusal("has a `\(next)` that repeats nothing: write `\\\(next)`")
    case "{": throw refusal("has a `{` that repeats nothing: write `\\{`")
    default:
      position += 1
      // A character that takes several bytes is still one thing to repeat.
      let bytes = Array(String(Character(next)).utf8)
      guard bytes.count > 1 else { return set(ByteSet(bytes[0]...bytes[0])) }
      return .sequence(bytes.map { .take(ByteSet($0...$0)) })
    }
  }

  private func set(_ set: ByteSet) -> PatternTree {
    guard ignoresCase else { return .take(set) }
    var folded = set
    folded.foldCase()
    return .take(folded)
  }

  /// `\d` and its like, `\n`, `\x0a`, and any sign that would mean something else.
  private mutating func escape() throws(BytePatternError) -> ByteSet {
    let start = position
    position += 1
    guard let next = peek else { throw BytePatternError("ends with a `\\`", at: start) }
    position += 1
    switch next {
    case "d": return PatternParser.digits
    case "D": return PatternParser.digits.inverted
    case "w": return PatternParser.wordBytes
    case "W": return PatternParser.wordBytes.inverted
    case "s": return ByteSet(" \t\n\r\u{0B}\u{0C}")
    case "S": return ByteSet(" \t\n\r\u{0B}\u{0C}").inverted
    case "n": return ByteSet("\n")
    case "r": return ByteSet("\r")
    case "t": return ByteSet("\t")
    case "0": return ByteSet("\0")
    case "x":
      guard position + 2 <= scalars.count,
        let value = UInt8(
          String(String.UnicodeScalarView(scalars[position..<position + 2])), radix: 16)
      else { throw BytePatternError("has a `\\x` without two hexadecimal digits", at: start) }
      position += 2
      return ByteSet(value...value)
    case "b", "B", "A", "z", "Z", "p", "P", "k", "1"..."9":
      throw BytePatternError("has `\\\(next)`, which is not supported", at: start)
    default:
      guard next.isASCII, !next.properties.isAlphabetic else {
        throw BytePatternError("has an unknown escape", at: start)
      }
      return ByteSet(String(Character(next)))
    }
  }

  private static let digits = ByteSet(UInt8(ascii: "0")...UInt8(ascii: "9"))

  private static var wordBytes: ByteSet {
    var set = digits
    set.formUnion(ByteSet(UInt8(ascii: "a")...UInt8(ascii: "z")))
    set.formUnion(ByteSet(UInt8(ascii: "A")...UInt8(ascii: "Z")))
    set.insert(UInt8(ascii: "_"))
    return set
  }

  /// `[a-z]`, `[^…]`.
  private mutating func bracket() throws(BytePatternError) -> PatternTree {
    let start = position
    position += 1
    let isInverted = accept("^")
    var found = ByteSet()
    var isFirst = true
    while true {
      guard let next = peek else {
        throw BytePatternError("has a `[` without its `]`", at: start)
      }
      if next == "]", !isFirst { break }
      isFirst = false
      if next == "[", scalars.dropFirst(position + 1).first == ":" {
        throw refusal("has a class like `[:alpha:]`, which is not supported: write `[A-Za-z]`")
      }
      let placed = position
      let low = try bracketItem()
      guard peek == "-", let beyond = scalars.dropFirst(position + 1).first, beyond != "]" else {
        found.formUnion(low)
        continue
      }
      position += 1
      let high = try bracketItem()
      guard let first = low.only, let last = high.only, first <= last else {
        throw BytePatternError("has a range that ends before it begins, or is none", at: placed)
      }
      found.formUnion(ByteSet(first...last))
    }
    position += 1
    if ignoresCase { found.foldCase() }
    return .take(isInverted ? found.inverted : found)
  }

  private mutating func bracketItem() throws(BytePatternError) -> ByteSet {
    guard let next = peek else { return ByteSet() }
    if next == "\\" { return try escape() }
    guard next.isASCII else {
      throw refusal("has a character of several bytes in brackets: write `(?:ä|ö)`")
    }
    position += 1
    return ByteSet(String(Character(next)))
  }

  // MARK: Characters

  private var peek: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

  private mutating func accept(_ text: String) -> Bool {
    let wanted = Array(text.unicodeScalars)
    guard scalars[position...].starts(with: wanted) else { return false }
    position += wanted.count
    return true
  }

  private func refusal(_ reason: String) -> BytePatternError {
    BytePatternError(reason, at: position)
  }
}

extension ByteSet {
  /// Its byte, if it has exactly one.
  fileprivate var only: UInt8? {
    let all = (UInt8.min...UInt8.max).filter(contains)
    return all.count == 1 ? all[0] : nil
  }
}
