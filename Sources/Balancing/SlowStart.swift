// SPDX-License-Identifier: Apache-2.0
// How an endpoint that has come up gets its sessions back: its weight grows on a straight line, so that
// what is still cold is not given a full share at once.

/// The arithmetic of slow starts.
public enum SlowStart {
  /// All of a weight.
  public static let whole = 256

  /// How much of an endpoint's weight counts, in parts of 256, at least 1, so long after it has come up.
  public static func share(elapsedNanoseconds: UInt64, windowNanoseconds: UInt64) -> Int {
    guard elapsedNanoseconds < windowNanoseconds else { return whole }
    let share = elapsedNanoseconds.multipliedFullWidth(by: UInt64(whole))
    return max(1, Int(windowNanoseconds.dividingFullWidth(share).quotient))
  }
}
