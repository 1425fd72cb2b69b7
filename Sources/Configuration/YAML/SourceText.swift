// SPDX-License-Identifier: Apache-2.0
// The bytes of a configuration file, checked before any parser sees them: size, UTF-8, and the
// characters that YAML allows. libyaml reports such faults at 1:1 or not at all, and an offence
// found here has a position. The lines are kept as they are in the file, because that, and never
// an expanded value, is what a diagnostic shows.

/// A place in a file. Columns count Unicode scalars, as libyaml does.
struct Mark: Hashable, Comparable {
  /// Counted from 1.
  var line: Int {
    get { Int(storedLine) }
    set { storedLine = UInt32(clamping: newValue) }
  }
  /// Counted from 1.
  var column: Int {
    get { Int(storedColumn) }
    set { storedColumn = UInt32(clamping: newValue) }
  }

  // There are several for each value of a file: half the memory, half the time to copy them.
  private var storedLine: UInt32
  private var storedColumn: UInt32

  init(line: Int, column: Int) {
    storedLine = UInt32(clamping: line)
    storedColumn = UInt32(clamping: column)
  }

  static let start = Mark(line: 1, column: 1)

  static func < (a: Mark, b: Mark) -> Bool {
    (a.storedLine, a.storedColumn) < (b.storedLine, b.storedColumn)
  }
}

/// From a place up to another.
struct SourceRange: Hashable {
  var start: Mark
  var end: Mark

  /// One character.
  init(at mark: Mark) {
    start = mark
    end = Mark(line: mark.line, column: mark.column + 1)
  }

  init(start: Mark, end: Mark) {
    self.start = start
    self.end = end
  }

  /// How many characters a caret line marks: the range if it is on one line, else its first one.
  var length: Int {
    start.line == end.line ? max(1, end.column - start.column) : 1
  }
}

/// A fault that ends the reading of a file.
struct SyntaxFailure: Error {
  var range: SourceRange
  var message: String
  var hints: [String] = []
}

/// A file whose bytes a YAML parser may see.
struct SourceText {
  /// Larger files are refused. A plan with ten thousand routes has less than half of this.
  static let bytesMax = 4 << 20

  /// Without a byte order mark.
  let bytes: ArraySlice<UInt8>
  /// Whether a value of it may hold a dollar: as it is, or as a YAML escape like `\x24`.
  let mayHaveDollars: Bool

  /// Refuses what is too large, not UTF-8, or holds characters that YAML does not allow.
  init(_ bytes: [UInt8], bytesMax: Int = Self.bytesMax) throws(SyntaxFailure) {
    guard bytes.count <= bytesMax else { throw Self.tooLarge(bytes.count, bytesMax: bytesMax) }
    let head = Array(bytes.prefix(4))
    if head.starts(with: [0xFF, 0xFE]) || head.starts(with: [0xFE, 0xFF])
      || head.starts(with: [0, 0, 0xFE, 0xFF])
      || head.count == 4 && (head[0] == 0) != (head[1] == 0) && (head[2] == 0) != (head[3] == 0)
    {
      throw SyntaxFailure(
        range: SourceRange(at: .start), message: "the file is not UTF-8 but UTF-16 or UTF-32",
        hints: ["save it as UTF-8"])
    }
    let content = head.starts(with: [0xEF, 0xBB, 0xBF]) ? bytes.dropFirst(3) : bytes[...]
    self.bytes = content
    mayHaveDollars = try content.withUnsafeBufferPointer(Self.check)
  }

  static func tooLarge(_ count: Int?, bytesMax: Int) -> SyntaxFailure {
    let size = count.map { "has \($0) bytes" } ?? "is too large"
    return SyntaxFailure(
      range: SourceRange(at: .start),
      message: "the file \(size), a configuration may have at most \(bytesMax) bytes")
  }

  /// The lines without their ends, as libyaml counts them. At least one.
  static func lines(of bytes: ArraySlice<UInt8>) -> [String] {
    var lines: [String] = []
    bytes.withUnsafeBufferPointer { bytes in
      var start = 0
      while let (end, next) = lineBreak(in: bytes, from: start) {
        lines.append(String(decoding: bytes[start..<end], as: UTF8.self))
        start = next
      }
      lines.append(String(decoding: bytes[start...], as: UTF8.self))
    }
    return lines
  }

  /// Where the next line break is and where the line behind it begins, `nil` if there is none. The same
  /// characters as `isLineBreak`, in UTF-8; a carriage return and what it ends with are one.
  private static func lineBreak(
    in bytes: UnsafeBufferPointer<UInt8>, from start: Int
  ) -> (end: Int, next: Int)? {
    func holds(_ sequence: [UInt8], at index: Int) -> Bool {
      bytes[index...].starts(with: sequence)
    }
    for index in start..<bytes.count {
      switch bytes[index] {
      case 0x0E..<0xC2: continue
      case 0x0A: return (index, index + 1)
      case 0x0D: return (index, index + (holds([0x0D, 0x0A], at: index) ? 2 : 1))
      case 0xC2 where holds([0xC2, 0x85], at: index): return (index, index + 2)
      case 0xE2
      where holds([0xE2, 0x80, 0xA8], at: index) || holds([0xE2, 0x80, 0xA9], at: index):
        return (index, index + 3)
      default: continue
      }
    }
    return nil
  }

  private static func isLineBreak(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x0A, 0x0D, 0x85, 0x2028, 0x2029: true
    default: false
    }
  }

  /// Refuses what YAML does not allow. Returns whether there is a dollar, or a backslash that may begin one.
  private static func check(_ bytes: UnsafeBufferPointer<UInt8>) throws(SyntaxFailure) -> Bool {
    var mayHaveDollars = false
    var line = 1
    var column = 1
    var afterCarriageReturn = false
    var walk = UTF8Walk(bytes)
    while true {
      let plainCount = walk.skipPlain()
      column += plainCount
      if plainCount > 0 { afterCarriageReturn = false }
      let mark = Mark(line: line, column: column)
      let scalar: Unicode.Scalar
      switch walk.next() {
      case nil: return mayHaveDollars
      case .invalid(let byte):
        throw SyntaxFailure(
          range: SourceRange(at: mark),
          message: "the file is not valid UTF-8 here (byte 0x\(hexadecimalByte(byte)))",
          hints: ["save it as UTF-8"])
      case .scalar(let found): scalar = found
      }
      if column == 1, scalar == "%" {
        throw SyntaxFailure(
          range: SourceRange(at: mark), message: "a line that starts with `%` is a YAML directive",
          hints: ["directives are not supported; remove the line"])
      }
      guard isAllowed(scalar) else { throw notAllowed(scalar, at: mark) }
      if isLineBreak(scalar) {
        if !(scalar == "\n" && afterCarriageReturn) { line += 1 }
        column = 1
      } else {
        column += 1
        mayHaveDollars = mayHaveDollars || scalar == "$" || scalar == "\\"
      }
      afterCarriageReturn = scalar == "\r"
    }
  }

  private static func isAllowed(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x09, 0x0A, 0x0D, 0x20...0x7E, 0x85, 0xA0...0xD7FF: true
    case 0xFEFF, 0xFFFE, 0xFFFF: false
    case 0xE000...: true
    default: false
    }
  }

  private static func notAllowed(_ scalar: Unicode.Scalar, at mark: Mark) -> SyntaxFailure {
    let what: String
    switch scalar.value {
    case 0: what = "a NUL byte: is this a text file?"
    case 0xFEFF: what = "a byte order mark inside the file"
    default: what = "the control character U+\(String(scalar.value, radix: 16, uppercase: true))"
    }
    return SyntaxFailure(range: SourceRange(at: mark), message: "\(what) is not allowed here")
  }
}

func hexadecimalByte(_ byte: UInt8) -> String {
  let digits = String(byte, radix: 16, uppercase: true)
  return digits.count == 1 ? "0" + digits : digits
}

/// Walks over UTF-8 and says where it is not, which `String(validating:)` does not. Borrows the bytes.
private struct UTF8Walk {
  enum Step {
    case scalar(Unicode.Scalar)
    case invalid(UInt8)
  }

  private let bytes: UnsafeBufferPointer<UInt8>
  private var index = 0

  init(_ bytes: UnsafeBufferPointer<UInt8>) {
    self.bytes = bytes
  }

  /// Skips what is allowed wherever it stands and means nothing more, which is most of a file: printable
  /// ASCII but for `$`, `%` and `\`. Returns how many characters it was.
  mutating func skipPlain() -> Int {
    let start = index
    while index < bytes.count {
      switch bytes[index] {
      case 0x20...0x23, 0x26...0x5B, 0x5D...0x7E: index += 1
      default: return index - start
      }
    }
    return index - start
  }

  mutating func next() -> Step? {
    guard index < bytes.count else { return nil }
    let first = bytes[index]
    let count: Int
    let least: UInt32
    var value: UInt32
    switch first {
    case 0..<0x80: (count, least, value) = (1, 0, UInt32(first))
    case 0xC2..<0xE0: (count, least, value) = (2, 0x80, UInt32(first & 0x1F))
    case 0xE0..<0xF0: (count, least, value) = (3, 0x800, UInt32(first & 0x0F))
    case 0xF0..<0xF5: (count, least, value) = (4, 0x1_0000, UInt32(first & 0x07))
    default: return .invalid(first)
    }
    guard bytes.count - index >= count else { return .invalid(first) }
    for byte in bytes[index + 1..<index + count] {
      guard byte & 0xC0 == 0x80 else { return .invalid(first) }
      value = value << 6 | UInt32(byte & 0x3F)
    }
    guard value >= least, let scalar = Unicode.Scalar(value) else { return .invalid(first) }
    index += count
    return .scalar(scalar)
  }
}
