// SPDX-License-Identifier: Apache-2.0
// Looks for a pattern in bytes that come in pieces: all places of the program that could go on are followed
// at once, each byte is looked at once, and nothing that was read is kept. A byte costs at most as much as
// the program has steps; a plain word in long text costs a few.

/// A search for one pattern, anywhere in what is read.
public struct PatternFinder: Sendable {
  /// Places in the program, each once, in the order in which they were reached.
  fileprivate struct Places: Sendable {
    var all: [Int] = []
    /// What is still to be followed.
    var pending: [Int] = []
    private var marks: [UInt32]
    private var round: UInt32 = 1

    init(count: Int) {
      marks = Array(repeating: 0, count: count)
    }

    mutating func insert(_ place: Int) -> Bool {
      guard marks[place] != round else { return false }
      marks[place] = round
      return true
    }

    mutating func removeAll() {
      all.removeAll(keepingCapacity: true)
      round &+= 1
      if round == 0 {
        for index in marks.indices { marks[index] = 0 }
        round = 1
      }
    }
  }

  private let steps: [BytePattern.Step]
  private var current: Places
  private var next: Places
  private var isAtLineStart = true
  /// Whether it has been found.
  public private(set) var isFound = false

  /// Begins a search. What matches nothing at all is found at once.
  public init(_ pattern: BytePattern) {
    steps = pattern.steps
    current = Places(count: steps.count)
    next = Places(count: steps.count)
    isFound = steps.follow(from: 0, into: &current, atLineStart: true, atLineEnd: false)
  }

  /// Looks at the bytes that come next, as far as the end of a match. Returns where that is: the index
  /// behind its last byte; `nil` while there is none.
  @discardableResult
  public mutating func read(_ bytes: ArraySlice<UInt8>) -> Int? {
    guard !isFound else { return bytes.startIndex }
    for index in bytes.indices {
      let byte = bytes[index]
      if byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") {
        passLineEnds()
        if isFound { return index }
      }
      isAtLineStart = byte == UInt8(ascii: "\n")
      next.removeAll()
      for place in current.all {
        if case .take(let set) = steps[place], set.contains(byte) { follow(place + 1) }
      }
      // A match may begin anywhere.
      follow(0)
      swap(&current, &next)
      if isFound { return index + 1 }
    }
    return nil
  }

  /// No more will come: that is the end of a line, too. Returns whether it has been found.
  public mutating func finish() -> Bool {
    if !isFound { passLineEnds() }
    return isFound
  }

  /// Goes on where an end of a line was waited for.
  private mutating func passLineEnds() {
    var index = 0
    while index < current.all.count {
      let place = current.all[index]
      if case .lineEnd = steps[place] {
        if steps.follow(
          from: place + 1, into: &current, atLineStart: isAtLineStart, atLineEnd: true)
        {
          isFound = true
        }
      }
      index += 1
    }
  }

  private mutating func follow(_ place: Int) {
    if steps.follow(from: place, into: &next, atLineStart: isAtLineStart, atLineEnd: false) {
      isFound = true
    }
  }
}

extension [BytePattern.Step] {
  /// Adds a place, and all that is reached from there without a byte. Returns whether the end is.
  fileprivate func follow(
    from place: Int, into places: inout PatternFinder.Places, atLineStart: Bool, atLineEnd: Bool
  ) -> Bool {
    var isFound = false
    places.pending.append(place)
    while let place = places.pending.popLast() {
      guard places.insert(place) else { continue }
      switch self[place] {
      case .take: places.all.append(place)
      case .split(let one, let other):
        places.pending.append(other)
        places.pending.append(one)
      case .jump(let target): places.pending.append(target)
      case .lineStart: if atLineStart { places.pending.append(place + 1) }
      case .lineEnd:
        // Whether a line ends here, only the next byte says.
        if atLineEnd { places.pending.append(place + 1) } else { places.all.append(place) }
      case .found: isFound = true
      }
    }
    return isFound
  }
}
