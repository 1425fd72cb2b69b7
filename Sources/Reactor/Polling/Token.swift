// SPDX-License-Identifier: Apache-2.0
// What epoll hands back with an event. The kernel may report an event for a descriptor that was
// closed earlier in the same batch, and its number may belong to somebody else by then. So the token
// never carries a descriptor: it carries a slot and the generation that registered it, and an event
// whose generation does not match is recognised, counted and dropped.
//
//     63            32 31  29 28            0
//     [  generation   ][kind][    index     ]

/// The 64 bits that epoll keeps for a registration (`epoll_event.data`, epoll_ctl(2)).
public struct Token: Hashable, Sendable {
  /// What registered the descriptor.
  public enum Kind: UInt8, Sendable {
    /// The client side of a session; the index is its slot.
    case downstream = 0
    /// The endpoint side of a session; the index is its slot.
    case upstream = 1
    /// A listening socket; the index is its place.
    case listener = 2
    /// The bell of the loop's inbox.
    case bell = 3
    /// A descriptor that tasks of an event loop wait for; the index is its slot.
    case descriptor = 4
  }

  /// The largest index.
  public static let indexMax = 1 << 29 - 1

  /// The bits as the kernel keeps them.
  public let rawValue: UInt64

  /// Takes bits that the kernel handed back.
  @inlinable
  public init(rawValue: UInt64) {
    self.rawValue = rawValue
  }

  /// Packs a token. `index` must be within 0...`indexMax`.
  @inlinable
  public init(_ kind: Kind, index: Int, generation: UInt32) {
    assert(index >= 0)
    assert(index <= Token.indexMax)
    rawValue =
      UInt64(generation) << 32 | UInt64(kind.rawValue) << 29
      | UInt64(UInt32(truncatingIfNeeded: index))
  }

  /// What registered the descriptor.
  @inlinable
  public var kind: Kind {
    // The kernel hands back what it was given, and every token was made from a kind.
    Kind(rawValue: UInt8(truncatingIfNeeded: rawValue >> 29) & 7).unsafelyUnwrapped
  }

  /// The place in what `kind` says.
  @inlinable
  public var index: Int { Int(rawValue & UInt64(Token.indexMax)) }

  /// The registration that the event belongs to.
  @inlinable
  public var generation: UInt32 { UInt32(truncatingIfNeeded: rawValue >> 32) }
}
