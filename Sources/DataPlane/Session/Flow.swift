// SPDX-License-Identifier: Apache-2.0
// One direction of a session: the bytes moved, the bytes that are pending because the destination could not take
// them, and the stage of the stream. The same for upload and download.
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
    /// The source may send more, or bytes of it are not read yet.
    case open
    /// The source has finished in order; pending bytes are still to be delivered.
    case ended
    /// The source has failed; pending bytes are still to be delivered, and then a reset.
    case cut
    /// The orderly end was sent to the destination.
    case passed
    /// Nothing can be sent to the destination.
    case broken
  }

  /// Bytes that the destination's kernel has taken.
  var bytes: UInt64 = 0
  /// Bytes that have been read and not yet taken by the destination: in memory of the flow's own, or, while the
  /// relay works on it, in the relay's shared buffer.
  var pending: UnsafeMutableRawPointer?
  var pendingOffset: UInt32 = 0
  /// How many bytes are pending, in `pending` or in the pipe.
  var pendingBytes: UInt32 = 0
  /// The number of `pipe`, -1 if there is none.
  private var pipeNumber: Int32 = -1
  var stage: Stage = .open
  /// Consecutive reads that filled the whole buffer: the sign of bulk.
  var fullReads: UInt8 = 0
  /// Consecutive splices that moved little: the sign that bulk is over.
  var smallSplices: UInt8 = 0
  var isBulk = false

  /// The pipe through which bytes are spliced, while it holds any.
  var pipe: PipeIndex? {
    get { pipeNumber < 0 ? nil : PipeIndex(rawValue: pipeNumber) }
    set { pipeNumber = newValue?.rawValue ?? -1 }
  }

  var isOpen: Bool { stage == .open }
  /// Whether the source has finished in order.
  var hasFinished: Bool { stage == .ended || stage == .passed }
  /// Whether no more bytes will be moved.
  var isOver: Bool { stage == .passed || stage == .broken }
  /// A number that changes with every byte and every end that is read or written.
  var progress: UInt64 { 2 &* bytes &+ UInt64(pendingBytes) &+ UInt64(stage.rawValue) }
  /// Whether all that will be moved is with the destination's kernel.
  var isDelivered: Bool { stage != .open && pendingBytes == 0 }
  /// Whether no byte has been read from the source.
  var isUntouched: Bool { bytes == 0 && pendingBytes == 0 }
}
