// SPDX-License-Identifier: Apache-2.0
// Looks for a text in bytes that come in pieces, each byte once (Knuth, Morris and Pratt): an answer of
// many megabytes that almost matches everywhere costs no more than another, and nothing is kept of it.

/// A search for one text.
public struct TextFinder: Sendable {
  private let wanted: [UInt8]
  /// For each length of a match: the length of the longest match that goes on when this one does not.
  private let shorter: [Int]
  private var matched = 0

  /// Whether the text has been found.
  public var isFound: Bool { matched == wanted.count }

  /// Begins a search. An empty text is found at once.
  public init(_ text: String) {
    self.init(Array(text.utf8))
  }

  /// Begins a search for bytes. None are found at once.
  public init(_ wanted: [UInt8]) {
    var shorter = Array(repeating: 0, count: wanted.count + 1)
    var length = 0
    for position in wanted.indices.dropFirst() {
      while length > 0, wanted[position] != wanted[length] { length = shorter[length] }
      if wanted[position] == wanted[length] { length += 1 }
      shorter[position + 1] = length
    }
    self.wanted = wanted
    self.shorter = shorter
  }

  /// Looks at the bytes that come next, as far as the end of what is looked for. Returns where that is: the
  /// index behind its last byte; `nil` while it has not come.
  @discardableResult
  public mutating func read(_ bytes: ArraySlice<UInt8>) -> Int? {
    guard !isFound else { return bytes.startIndex }
    for index in bytes.indices {
      let byte = bytes[index]
      while matched > 0, byte != wanted[matched] { matched = shorter[matched] }
      if byte == wanted[matched] { matched += 1 }
      if isFound { return index + 1 }
    }
    return nil
  }
}
