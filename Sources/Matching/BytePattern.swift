// SPDX-License-Identifier: Apache-2.0
// A regular expression over bytes, as a program for `PatternFinder`. It has what a program can follow in
// one pass, whatever it is given: no backtracking, so no text that takes exponential time, and nothing that
// would need to remember what was read (back references, looking around). The program's length is bounded,
// and with it the work for each byte. (After Thompson 1968; the machine is the one of Pike's `sam`.)
//
// `^` is the beginning of what is looked at, and of each line; `$` is the end of each line, before `\n` or
// `\r\n`, and the end of everything. `.` is any byte but a line feed.

/// A regular expression, ready to be looked for.
public struct BytePattern: Hashable, Sendable {
  /// How long the text of a pattern may be, in bytes.
  public static let textBytesMax = 512
  /// How many steps a program has at most; repetitions are written out.
  public static let stepsMax = 1000

  /// One step of the program; unless it says otherwise, the next one follows.
  enum Step: Hashable, Sendable {
    /// Takes a byte of a set.
    case take(ByteSet)
    /// Goes on at both places.
    case split(Int, Int)
    /// Goes on there.
    case jump(Int)
    /// Goes on only where a line begins.
    case lineStart
    /// Goes on only where a line ends.
    case lineEnd
    /// It is found.
    case found
  }

  /// What was written.
  public let text: String
  let steps: [Step]

  /// Reads a pattern. Throws what is wrong with it, or that it is longer than a bound.
  public init(_ text: String) throws(BytePatternError) {
    guard text.utf8.count <= BytePattern.textBytesMax else {
      throw BytePatternError("is longer than \(BytePattern.textBytesMax) bytes", at: 0)
    }
    var parser = PatternParser(text)
    let tree = try parser.parse()
    guard tree.stepsCount < BytePattern.stepsMax else {
      throw BytePatternError(
        "has more than \(BytePattern.stepsMax) steps with its repetitions written out", at: 0)
    }
    var steps: [Step] = []
    tree.write(to: &steps)
    steps.append(.found)
    assert(steps.count == tree.stepsCount + 1)
    self.text = text
    self.steps = steps
  }

  /// Whether nothing at all is enough to match: then it is found everywhere.
  public var matchesNothing: Bool { PatternFinder(self).isFound }

  /// How many bytes a match has at least; `nil` when nothing matches, as with `a^b`. Every place of the
  /// program is looked at once for each of what may be known there: whether a line begins, and whether one
  /// must end.
  public var bytesMin: Int? {
    struct Spot: Hashable {
      var step: Int
      var isAtLineStart: Bool
      /// The next byte, if any, ends a line.
      var mustEnd = false
    }
    let (feed, back) = (UInt8(ascii: "\n"), UInt8(ascii: "\r"))
    var known: Set<Spot> = []
    var spots = [Spot(step: 0, isAtLineStart: true), Spot(step: 0, isAtLineStart: false)]
    var count = 0
    while !spots.isEmpty {
      var later: [Spot] = []
      while var spot = spots.popLast() {
        guard known.insert(spot).inserted else { continue }
        switch steps[spot.step] {
        case .found: return count
        case .split(let one, let other):
          spots.append(Spot(step: one, isAtLineStart: spot.isAtLineStart, mustEnd: spot.mustEnd))
          spots.append(Spot(step: other, isAtLineStart: spot.isAtLineStart, mustEnd: spot.mustEnd))
        case .jump(let target):
          spot.step = target
          spots.append(spot)
        case .lineStart:
          spot.step += 1
          if spot.isAtLineStart { spots.append(spot) }
        case .lineEnd:
          spot.step += 1
          spot.mustEnd = true
          spots.append(spot)
        case .take(let set):
          if set.contains(feed) { later.append(Spot(step: spot.step + 1, isAtLineStart: true)) }
          let isOther =
            spot.mustEnd
            ? set.contains(back)
            : (UInt8.min...UInt8.max).contains { $0 != feed && set.contains($0) }
          if isOther { later.append(Spot(step: spot.step + 1, isAtLineStart: false)) }
        }
      }
      spots = later
      count += 1
    }
    return nil
  }
}

/// What is wrong with a pattern.
public struct BytePatternError: Error, Hashable, Sendable {
  /// Follows the pattern in a sentence.
  public let reason: String
  /// Before which character, counted from 0.
  public let position: Int

  init(_ reason: String, at position: Int) {
    self.reason = reason
    self.position = position
  }
}

/// A pattern as a tree.
indirect enum PatternTree {
  case nothing
  case take(ByteSet)
  case lineStart
  case lineEnd
  case sequence([PatternTree])
  case choice([PatternTree])
  case repetition(PatternTree, min: Int, max: Int?)

  /// How many steps it is written in, or some number above every bound.
  var stepsCount: Int {
    let enough = 1 << 20
    switch self {
    case .nothing: return 0
    case .take, .lineStart, .lineEnd: return 1
    case .sequence(let parts): return parts.reduce(0) { min(enough, $0 + $1.stepsCount) }
    case .choice(let parts):
      return parts.reduce(-2) { min(enough, $0 + $1.stepsCount + 2) }
    case .repetition(let part, let least, let most):
      let each = part.stepsCount
      guard let most else { return min(enough, max(least, 1) * each + (least == 0 ? 2 : 1)) }
      return min(enough, least * each + (most - least) * (each + 1))
    }
  }

  func write(to steps: inout [BytePattern.Step]) {
    switch self {
    case .nothing: break
    case .take(let set): steps.append(.take(set))
    case .lineStart: steps.append(.lineStart)
    case .lineEnd: steps.append(.lineEnd)
    case .sequence(let parts): for part in parts { part.write(to: &steps) }
    case .choice(let parts): PatternTree.write(choice: parts, to: &steps)
    case .repetition(let part, let least, let most?):
      for _ in 0..<least { part.write(to: &steps) }
      // Each that may be left out leaves out those behind it, too.
      let end = steps.count + (most - least) * (part.stepsCount + 1)
      for _ in least..<most {
        steps.append(.split(steps.count + 1, end))
        part.write(to: &steps)
      }
    case .repetition(let part, 0, nil):
      let start = steps.count
      steps.append(.split(start + 1, start + part.stepsCount + 2))
      part.write(to: &steps)
      steps.append(.jump(start))
    case .repetition(let part, let least, nil):
      for _ in 1..<least { part.write(to: &steps) }
      let start = steps.count
      part.write(to: &steps)
      steps.append(.split(start, steps.count + 1))
    }
  }

  private static func write(choice parts: [PatternTree], to steps: inout [BytePattern.Step]) {
    let end = steps.count + PatternTree.choice(parts).stepsCount
    for (number, part) in parts.enumerated() {
      guard number < parts.count - 1 else { return part.write(to: &steps) }
      steps.append(.split(steps.count + 1, steps.count + part.stepsCount + 2))
      part.write(to: &steps)
      steps.append(.jump(end))
    }
  }
}
