// SPDX-License-Identifier: Apache-2.0
// The bounds of a head. They hold whatever the peer sends: memory is taken for no more than this.

/// How much of a head is taken.
public struct HeadLimits: Hashable, Sendable {
  /// The most that can be asked for as `fieldsMax`.
  public static let fieldsMaxMax = 1000

  /// How many bytes a head may have, from its first byte to the end of the empty line behind its
  /// fields.
  public var bytesMax: Int
  /// How many field lines it may have.
  public var fieldsMax: Int

  /// Makes limits. By default 16 KiB and 100 fields, which is what servers commonly take. `bytesMax`
  /// must be positive, and `fieldsMax` from 0 to `fieldsMaxMax`.
  public init(bytesMax: Int = 16 << 10, fieldsMax: Int = 100) {
    precondition(bytesMax > 0)
    precondition((0...HeadLimits.fieldsMaxMax).contains(fieldsMax))
    self.bytesMax = bytesMax
    self.fieldsMax = fieldsMax
  }
}
