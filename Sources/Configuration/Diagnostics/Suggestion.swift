// SPDX-License-Identifier: Apache-2.0
// "Did you mean": the nearest known name, by the number of characters that must be changed, left
// out, put in, or swapped with a neighbour. A name is offered only when it is near: a wrong guess
// sends a reader to the wrong place.

/// The nearest candidate, if one is near. Looks at the first thousand only.
public func suggestion(for text: String, among candidates: [String]) -> String? {
  let wanted = normalized(text)
  guard wanted.count <= 64, !wanted.isEmpty else { return nil }
  let limit = max(1, wanted.count / 3)
  var best: (distance: Int, candidate: String)?
  for candidate in candidates.prefix(1000) {
    let known = normalized(candidate)
    guard abs(known.count - wanted.count) <= limit else { continue }
    let distance = editDistance(wanted, known)
    if distance <= limit, distance < best?.distance ?? .max { best = (distance, candidate) }
  }
  return best?.candidate
}

/// Case and the choice between `-` and `_` do not make a name far.
private func normalized(_ text: String) -> [UInt8] {
  text.utf8.map { byte in
    byte == UInt8(ascii: "-") ? UInt8(ascii: "_") : isLetter(byte) ? byte | 0x20 : byte
  }
}

/// The optimal string alignment distance.
func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
  var twoAbove: [Int] = []
  var above = Array(0...b.count)
  for i in a.indices {
    var row = [i + 1]
    for j in b.indices {
      var cost = min(above[j + 1] + 1, row[j] + 1, above[j] + (a[i] == b[j] ? 0 : 1))
      if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { cost = min(cost, twoAbove[j - 1] + 1) }
      row.append(cost)
    }
    twoAbove = above
    above = row
  }
  return above[b.count]
}
