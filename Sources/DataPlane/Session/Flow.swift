// SPDX-License-Identifier: Apache-2.0
// One direction of a session: what has moved, what is pending because the destination could not take
// it, and how far the stream has come. The same for upload and download.
//
//              ┌─ source ends in order ─▶ ended ── end is sent ───▶ passed
//     open ────┤
//              ├─ source fails ─────────▶ cut    (the destination is reset once it has everything)
//              └─ destination fails ────▶ broken (what the source sends is read and discarded)

/// One of a session's two flows.
enum Way {
  /// From the client to the endpoint.
  case upload
  /// From the endpoint to the client.
  case download

  var opposite: Way { self == .upload ? .download : .upload }
  var source: SessionEnd.Origin { self == .upload ? .downstream : .upstream }
  var destination: SessionEnd.Origin { opposite.source }
}

/// The state of moving bytes from one connection of a session to the other.
struct Flow {
  enum Stage: UInt8 {
    /// The source may send more, or holds bytes that were not read yet.
    case open
    /// The source has finished in order; pending bytes are still to be delivered.
    case ended
    /// The source has failed; pending bytes are still to be delivered, and then a reset.
    case cut
    /// The destination was told of the orderly end.
    case passed
    /// The destination can be sent nothing.
    case broken
  }

  /// Bytes that the destination's kernel has taken.
  var bytes: UInt64 = 0
  /// Bytes that have been read and not taken yet: in memory of the flow's own, or, while the relay works
  /// on it, in the relay's shared buffer.
  var pending: UnsafeMutableRawPointer?
  var pendingOffset: UInt32 = 0
  /// How many bytes are pending, in `pending` or in the pipe.
  var pendingBytes: UInt32 = 0
  /// The number of `pipe`, -1 if there is none.
  private var pipeNumber: Int32 = -1
  var stage: Stage = .open
  /// Reads in a row that filled the whole buffer: the sign of bulk.
  var fullReads: UInt8 = 0
  /// Splices in a row that moved little: the sign that bulk is over.
  var smallSplices: UInt8 = 0
  var isBulk = false

  /// The pipe through which bytes are spliced, while there are some in it.
  var pipe: PipeIndex? {
    get { pipeNumber < 0 ? nil : PipeIndex(rawValue: pipeNumber) }
    set { pipeNumber = newValue?.rawValue ?? -1 }
  }

  var isOpen: Bool { stage == .open }
  /// Whether the source has finished in order.
  var hasFinished: Bool { stage == .ended || stage == .passed }
  /// Whether nothing will be moved any more.
  var isOver: Bool { stage == .passed || stage == .broken }
  /// Whether all that will be moved is with the destination's kernel.
  var isDelivered: Bool { stage != .open && pendingBytes == 0 }
  /// Whether not one byte of the source has been seen.
  var isUntouched: Bool { bytes == 0 && pendingBytes == 0 }
}
