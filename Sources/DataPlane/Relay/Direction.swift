// SPDX-License-Identifier: Apache-2.0
// One direction of a session: what has moved, what is kept because the destination could not take
// it, and how far the stream has come. The same for upload and download.

/// The state of moving bytes from one side of a session to the other.
struct Direction {
  //     open ──source ends──▶ ended ──all delivered──▶ finished
  //       │                     │
  //       └────── the destination fails, or an end of our own ──▶ abandoned
  enum Stage: UInt8 {
    /// The source may send more.
    case open
    /// The source has sent its last byte; what is kept is still to be delivered.
    case ended
    /// The end has been passed on to the destination.
    case finished
    /// What the source sends is of no use to anybody any more.
    case abandoned
  }

  /// Bytes that the destination's kernel has taken.
  var bytes: UInt64 = 0
  /// Bytes that have been read and not taken yet, copied here by the worker's relay.
  var kept: UnsafeMutableRawPointer?
  var keptOffset: UInt32 = 0
  /// How many bytes are kept, in `kept` or in the pipe.
  var keptBytes: UInt32 = 0
  /// The pipe through which bytes are spliced, while there are some in it.
  var pipe: PipeIndex?
  var stage: Stage = .open
  /// Reads in a row that filled the whole buffer: the sign of bulk.
  var fullReads: UInt8 = 0
  /// Splices in a row that moved little: the sign that bulk is over.
  var smallSplices: UInt8 = 0
  var isBulk = false

  /// Whether the source may still send.
  var isOpen: Bool { stage == .open }
  /// Whether nothing will move in this direction any more.
  var isOver: Bool { stage == .finished || stage == .abandoned }
}
