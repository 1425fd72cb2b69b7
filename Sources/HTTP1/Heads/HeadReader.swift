// SPDX-License-Identifier: Apache-2.0
// What the heads of requests and responses have in common: a first line, field lines, an empty line,
// all within bounds.
//
//     start line ──▶ fields ──empty line──▶ (complete) ──▶ start line of the next message

import HTTPTypes

/// A head whose first line has been read by `StartLine`.
struct RawHead<StartLine: Sendable>: Sendable {
  var start: StartLine
  var fields: HTTPFields
}

struct HeadReader<StartLine: Sendable>: Sendable {
  let limits: HeadLimits
  private var lines = LineReader()
  private var start: StartLine?
  private var fields = FieldLines()

  init(limits: HeadLimits) {
    self.limits = limits
  }

  /// Whether nothing of a message was taken yet.
  var isIdle: Bool { lines.bytes == 0 }

  /// Takes from the front of `input` what belongs to the head. Returns the head when it is complete,
  /// and is ready for the next one then; `nil` when more is needed. `readStart` reads the first line;
  /// it returns `nil` for a line that is to be passed over.
  mutating func read(
    _ input: inout ArraySlice<UInt8>,
    readStart: ([UInt8]) throws(MessageError) -> StartLine?
  ) throws(MessageError) -> RawHead<StartLine>? {
    let bytesMax = limits.bytesMax
    while true {
      guard let start else {
        guard
          let line = try lines.next(
            from: &input, bytesMax: bytesMax, tooLong: .startLineTooLong(bytesMax: bytesMax))
        else { return nil }
        start = try readStart(line)
        continue
      }
      guard
        let line = try lines.next(
          from: &input, bytesMax: bytesMax, tooLong: .headTooLong(bytesMax: bytesMax))
      else { return nil }
      guard line.isEmpty else {
        try fields.take(line, max: limits.fieldsMax)
        continue
      }
      let head = RawHead(start: start, fields: fields.fields)
      lines.reset()
      self.start = nil
      fields = FieldLines()
      return head
    }
  }
}
