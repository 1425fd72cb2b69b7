// SPDX-License-Identifier: Apache-2.0
// What must not be seen, as a type of its own, so that no log line or dump of a plan shows it by accident.

/// Text that is never shown: what prints, dumps or logs it, or a value that holds it, gets dots.
public struct Secret: Hashable, Sendable, CustomStringConvertible, CustomReflectable {
  /// The text itself, for whoever sends it.
  public let text: String

  /// Makes a secret.
  public init(_ text: String) {
    self.text = text
  }

  /// Dots.
  public var description: String { "•••" }

  /// Nothing.
  public var customMirror: Mirror { Mirror(self, children: []) }
}
