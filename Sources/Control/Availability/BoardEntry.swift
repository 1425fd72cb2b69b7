// SPDX-License-Identifier: Apache-2.0
// What speaks for and against one endpoint, and what it comes to:
//
//     its checks say no ──────────▶ down
//     otherwise, it is left out ──▶ ejected
//     otherwise ──────────────────▶ up, perhaps with a share that still grows

import Balancing
import DataPlane
import Reactor

/// An endpoint on the board. Used by the loop's thread.
final class BoardEntry {
  let state: EndpointState
  unowned let row: BoardRow
  /// As the topology has it now.
  var subject: BoardedEndpoint
  /// Whether its checks say nothing against it.
  var isUp: Bool
  var history = OutlierHistory()
  var ejectionCount = 0
  /// Since when its share has been growing; `nil`: it has all of it.
  var growsSince: Instant?

  init(_ subject: BoardedEndpoint, in row: BoardRow) {
    self.subject = subject
    self.row = row
    state = subject.state
    isUp = subject.isUp
  }

  /// What it comes to.
  var availability: Availability {
    !isUp ? .down : history.isEjected ? .ejected : .up
  }
}
