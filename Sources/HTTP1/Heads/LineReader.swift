// SPDX-License-Identifier: Apache-2.0
// Bytes to lines. It looks at each byte once and by itself, so that it makes no difference how a
// message was cut into chunks, and what is wrong is found at the byte where it stands: somebody who
// speaks TLS to an HTTP port is told so after the first byte.

struct LineReader: Sendable {
  private var line: [UInt8] = []
  private var sawCarriageReturn = false
  /// How many bytes were taken since `reset`.
  private(set) var bytes = 0

  /// Takes bytes from the front of `input` up to the end of a line. Returns the line without its end;
  /// `nil` when the input is used up before. Throws `tooLong` at the byte that is the first beyond
  /// `bytesMax`, counted since `reset`.
  mutating func next(
    from input: inout ArraySlice<UInt8>, bytesMax: Int, tooLong: MessageError
  ) throws(MessageError) -> [UInt8]? {
    while let byte = input.popFirst() {
      bytes += 1
      guard bytes <= bytesMax else { throw tooLong }
      if sawCarriageReturn {
        guard byte == .lineFeed else { throw .bareCarriageReturn }
        sawCarriageReturn = false
        defer { line = [] }
        return line
      }
      switch byte {
      case .carriageReturn: sawCarriageReturn = true
      case .lineFeed: throw .bareLineFeed
      default:
        if byte.isControl { throw .controlCharacter(byte) }
        line.append(byte)
      }
    }
    return nil
  }

  /// Begins to count anew. Must be called between two lines.
  mutating func reset() {
    assert(line.isEmpty)
    assert(!sawCarriageReturn)
    bytes = 0
  }
}
