// SPDX-License-Identifier: Apache-2.0
// The content of a message, from bytes, however they are cut. What a content may have is bounded, and
// so is what does not show in it: lines before chunks and fields behind the last.
//
//     chunked:  size line ──▶ data ──▶ its end ──▶ size line …
//                   └──── size 0 ──▶ trailer ──empty line──▶ complete

/// Reads the content of one message.
public struct BodyReader: Sendable {
  /// How many bytes the line before a chunk may have. Nobody needs more than its digits; what stands
  /// behind them (chunk extensions) is read over.
  static let chunkLineBytesMax = 256
  /// How many bytes the fields behind the last chunk may have, and how many fields. They are checked and
  /// then dropped.
  static let trailerBytesMax = 8 << 10
  static let trailerFieldsMax = 100

  private enum State {
    case complete
    case data(left: Int)
    case untilClose
    case chunkSize
    case chunkData(left: Int)
    case chunkEnd
    case trailer(FieldLines)
  }

  private var state: State
  private var lines = LineReader()
  private let bytesMax: Int
  private var bytes = 0

  /// Makes a reader for a content that ends as `framing` says and has at most `bytesMax` bytes. Throws
  /// when the framing says that it has more.
  public init(_ framing: BodyFraming, bytesMax: Int) throws(MessageError) {
    precondition(bytesMax >= 0)
    self.bytesMax = bytesMax
    switch framing {
    case .none, .length(0): state = .complete
    case .length(let length):
      guard length <= bytesMax else { throw .contentTooLong(bytesMax: bytesMax) }
      state = .data(left: length)
    case .chunked: state = .chunkSize
    case .untilClose: state = .untilClose
    }
  }

  /// Whether all of the content has been read. A content that ends with the connection is complete
  /// after `finish`.
  public var isComplete: Bool {
    if case .complete = state { true } else { false }
  }

  /// Takes from the front of `input` what belongs to the message, and adds the content in it to
  /// `content`. Once complete it takes nothing more: what is left is the next message. After an error
  /// the connection is beyond use.
  public mutating func read(
    _ input: inout ArraySlice<UInt8>, into content: inout [UInt8]
  ) throws(MessageError) {
    while true {
      switch state {
      case .complete: return
      case .data(let left):
        guard let rest = take(left, from: &input, into: &content) else { return }
        state = rest == 0 ? .complete : .data(left: rest)
      case .untilClose:
        guard !input.isEmpty else { return }
        try count(input.count)
        content += input
        input = []
      case .chunkSize:
        guard let size = try chunkSize(&input) else { return }
        state = size == 0 ? .trailer(FieldLines()) : .chunkData(left: size)
      case .chunkData(let left):
        guard let rest = take(left, from: &input, into: &content) else { return }
        state = rest == 0 ? .chunkEnd : .chunkData(left: rest)
      case .chunkEnd:
        // Two bytes, of which none may be anything but the end of a line.
        guard
          let line = try lines.next(from: &input, bytesMax: 2, tooLong: .chunkEnd)
        else { return }
        guard line.isEmpty else { throw .chunkEnd }
        lines.reset()
        state = .chunkSize
      case .trailer(var fields):
        guard
          let line = try lines.next(
            from: &input, bytesMax: Self.trailerBytesMax,
            tooLong: .trailerTooLong(bytesMax: Self.trailerBytesMax))
        else { return }
        if line.isEmpty {
          state = .complete
        } else {
          try fields.take(line, max: Self.trailerFieldsMax)
          state = .trailer(fields)
        }
      }
    }
  }

  /// Says that the stream has ended. Throws when the content had not.
  public mutating func finish() throws(MessageError) {
    switch state {
    case .complete, .untilClose: state = .complete
    default: throw .truncated
    }
  }

  /// Moves at most `left` bytes; returns how many are left then, `nil` when there was no input.
  private func take(
    _ left: Int, from input: inout ArraySlice<UInt8>, into content: inout [UInt8]
  ) -> Int? {
    guard !input.isEmpty else { return nil }
    let part = input.prefix(left)
    content += part
    input = input.dropFirst(part.count)
    return left - part.count
  }

  private mutating func count(_ more: Int) throws(MessageError) {
    bytes += more
    guard bytes <= bytesMax else { throw .contentTooLong(bytesMax: bytesMax) }
  }

  private mutating func chunkSize(
    _ input: inout ArraySlice<UInt8>
  ) throws(MessageError) -> Int? {
    let tooLong = MessageError.chunkLineTooLong(bytesMax: Self.chunkLineBytesMax)
    guard
      let line = try lines.next(from: &input, bytesMax: Self.chunkLineBytesMax, tooLong: tooLong)
    else { return nil }
    lines.reset()
    var size = 0
    var digits = 0
    for byte in line {
      guard let value = byte.hexadecimalValue else { break }
      digits += 1
      guard digits <= 15 else { throw .chunkSize }
      size = size << 4 | Int(value)
    }
    let behind = line.dropFirst(digits).drop(while: \.isBlank)
    guard digits > 0, digits == line.count || behind.first == UInt8(ascii: ";") else {
      throw .chunkSize
    }
    // Before a byte of it has come: a size is enough to know that it is too much.
    try count(size)
    return size
  }
}
