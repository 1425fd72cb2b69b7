// SPDX-License-Identifier: Apache-2.0
// How the network and the receiving kernel treat what one end of a TCP connection sends and receives.
// A prompt connection is what unit tests start from: what the network carries is acknowledged at once,
// and each read makes room for the sender.

/// The pace of one end of a TCP connection.
struct FakePace {
  /// Acknowledgements of what this end has sent come back by themselves, a step of the network after the
  /// bytes have arrived.
  var acknowledgesLater = false
  /// This end tells its peer of room only when at least so many bytes of it are new, or when everything
  /// has been read (RFC 9293, 3.8.6.2.2): the window opens in steps.
  var windowStepBytes = 1
  /// The end of the stream arrives here only while there is room for a byte.
  var endNeedsRoom = false

  static let prompt = FakePace()

  static func random(_ chaos: FakeChaos, receiveCapacity: Int) -> FakePace {
    FakePace(
      acknowledgesLater: chaos.below(2) == 0,
      windowStepBytes: chaos.below(2) == 0 ? 1 : chaos.within(1...max(1, receiveCapacity / 2)),
      endNeedsRoom: chaos.below(2) == 0)
  }
}
