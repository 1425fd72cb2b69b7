// SPDX-License-Identifier: Apache-2.0
// Looks for a text in bytes that come in pieces, each byte once (Knuth, Morris and Pratt): an answer of
// many megabytes that almost matches everywhere costs no more than another, and nothing is kept of it.

/// A search for one text.
struct TextFinder: Sendable {
  private let wanted: [UInt8]
  /// For each length of a match: the length of the longest match that goes on when this one does not.
  private let shorter: [Int]
  private var matched = 0

  /// Whether the text has been found.
  var isFound: Bool { matched == wanted.count }

  /// Begins a search. An empty text is found at once.
  init(_ text: String) {
    let wanted = Array(text.utf8)
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

  /// Looks at the bytes that come next.
  mutating func read(_ bytes: some Sequence<UInt8>) {
    for byte in bytes {
      guard !isFound else { return }
      while matched > 0, byte != wanted[matched] { matched = shorter[matched] }
      if byte == wanted[matched] { matched += 1 }
    }
  }
}
