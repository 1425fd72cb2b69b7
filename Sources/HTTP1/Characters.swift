// SPDX-License-Identifier: Apache-2.0
// Which bytes may stand where: RFC 9110, section 5.6.2 (tokens), and RFC 3986 (targets and hosts).
// The rules are small, so they are written as ranges, which can be held beside the grammar.

extension UInt8 {
  static let tab = UInt8(ascii: "\t")
  static let space = UInt8(ascii: " ")
  static let colon = UInt8(ascii: ":")
  static let carriageReturn = UInt8(ascii: "\r")
  static let lineFeed = UInt8(ascii: "\n")

  /// SP / HTAB
  var isBlank: Bool { self == .space || self == .tab }

  /// What may stand in no line: the control characters, except for the tab.
  var isControl: Bool { (self < 0x20 && self != .tab) || self == 0x7F }

  var isDigit: Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self) }

  var isLetter: Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(self | 0x20)
  }

  /// The value of a hexadecimal digit.
  var hexadecimalValue: UInt8? {
    if isDigit { return self - UInt8(ascii: "0") }
    let small = self | 0x20
    guard (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(small) else { return nil }
    return small - UInt8(ascii: "a") + 10
  }

  func isOne(of characters: StaticString) -> Bool {
    characters.withUTF8Buffer { $0.contains(self) }
  }

  /// tchar
  var isToken: Bool { isLetter || isDigit || isOne(of: "!#$%&'*+-.^_`|~") }

  /// unreserved / sub-delims: what host names and paths share.
  var isPlainURI: Bool { isLetter || isDigit || isOne(of: "-._~!$&'()*+,;=") }
}

extension Collection<UInt8> {
  /// Whether this is a token: at least one character, all of them of the kind that names have.
  var isToken: Bool { !isEmpty && allSatisfy(\.isToken) }

  /// Whether every percent sign stands before two hexadecimal digits, and all else is plain or one of
  /// `others`.
  func isURIText(allowing others: StaticString) -> Bool {
    var rest = self[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "%") {
        guard rest.popFirst()?.hexadecimalValue != nil,
          rest.popFirst()?.hexadecimalValue != nil
        else { return false }
      } else if !byte.isPlainURI && !byte.isOne(of: others) {
        return false
      }
    }
    return true
  }

  /// Without blanks at both ends.
  var trimmed: SubSequence {
    let front = drop(while: \.isBlank)
    guard let last = front.indices.reversed().first(where: { !self[$0].isBlank }) else {
      return front
    }
    return front[...last]
  }
}

extension Substring {
  /// Whether both are the same but for the case of ASCII letters.
  func isSame(as other: String) -> Bool {
    utf8.elementsEqual(other.utf8) { left, right in
      left == right || (left.isLetter && right.isLetter && left | 0x20 == right | 0x20)
    }
  }
}

extension String {
  /// The members of a comma-separated list, without blanks; empty members are left out, as RFC 9110,
  /// section 5.6.1, wants.
  var listMembers: [Substring] {
    split(separator: ",").map { member in
      member.drop { $0 == " " || $0 == "\t" }
    }.map { member in
      var rest = member
      while let last = rest.last, last == " " || last == "\t" { rest.removeLast() }
      return rest
    }.filter { !$0.isEmpty }
  }
}
