// SPDX-License-Identifier: Apache-2.0
// Least connections: the endpoint that would carry the least per weight with one session more.
// Counting the new session in makes idle endpoints differ by weight, too, and a weight of 2 mean
// twice as many sessions from the first one on.

/// Chooses the position with the fewest sessions per weight.
public enum LeastConnections {
  /// The usable position in 0..<`count` with the smallest (`load` + 1) / `weight`; `nil` when none is
  /// usable. Ties are broken at random, each tied position being equally likely, so that workers
  /// that see the same loads do not all choose the same endpoint. A weight of 0 is never chosen.
  ///
  /// Takes O(`count`). Loads must not be negative; a load and a weight must be below 2³¹.
  public static func pick(
    count: Int, weight: (Int) -> Int, load: (Int) -> Int, random: inout SplitMix64,
    where isUsable: (Int) -> Bool
  ) -> Int? {
    var best: (position: Int, load: Int, weight: Int)?
    var ties = 0
    for position in 0..<count {
      let weight = weight(position)
      guard weight > 0, isUsable(position) else { continue }
      let load = load(position) + 1
      guard let current = best else {
        best = (position, load, weight)
        ties = 1
        continue
      }
      // load / weight against current.load / current.weight, without dividing.
      let left = load * current.weight
      let right = current.load * weight
      if left < right {
        best = (position, load, weight)
        ties = 1
      } else if left == right {
        ties += 1
        // Reservoir sampling: the n-th tied position replaces the choice with probability 1/n.
        if random.next(below: UInt64(ties)) == 0 { best = (position, load, weight) }
      }
    }
    return best?.position
  }
}
