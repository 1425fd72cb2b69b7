// SPDX-License-Identifier: Apache-2.0
// libyaml's events as Swift values. The event interface, not the document one, is used because it
// hands over control between events: that is where limits are enforced before a hostile file can
// cost anything. The reader borrows the bytes it reads; it must not outlive them.

import CYAML

/// One event and where it stands.
struct YAMLEvent {
  var kind: Kind
  var range: SourceRange
  /// What a scalar says, or the name of an alias's anchor.
  var text = ""
  /// Of a scalar: written without quotes.
  var isPlain = false
  /// What may stand before a node.
  var anchor: String?
  var tag: String?

  enum Kind {
    case streamStart
    case streamEnd
    case documentStart
    case documentEnd
    case alias
    case scalar
    case sequenceStart
    case sequenceEnd
    case mappingStart
    case mappingEnd
  }
}

/// Reads events until the stream ends or fails.
struct EventReader: ~Copyable {
  private let parser: UnsafeMutablePointer<yaml_parser_t>

  /// `bytes` must stay valid for the reader's life.
  init(_ bytes: UnsafeBufferPointer<UInt8>) {
    parser = .allocate(capacity: 1)
    parser.initialize(to: yaml_parser_t())
    precondition(yaml_parser_initialize(parser) == 1, "no memory for a YAML parser")
    yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
    // An empty buffer has no base address, and libyaml asserts that there is one.
    if let base = bytes.baseAddress, !bytes.isEmpty {
      yaml_parser_set_input_string(parser, base, bytes.count)
    } else {
      yaml_parser_set_input_string(parser, Self.nothing, 0)
    }
  }

  deinit {
    yaml_parser_delete(parser)
    parser.deinitialize(count: 1)
    parser.deallocate()
  }

  // SAFETY: never written or freed, and read for zero bytes only.
  private nonisolated(unsafe) static let nothing: UnsafePointer<UInt8> = {
    let byte = UnsafeMutablePointer<UInt8>.allocate(capacity: 1)
    byte.initialize(to: 0)
    return UnsafePointer(byte)
  }()

  mutating func next() throws(YAMLProblem) -> YAMLEvent {
    var event = yaml_event_t()
    guard yaml_parser_parse(parser, &event) == 1 else { throw problem }
    defer { yaml_event_delete(&event) }
    var found = YAMLEvent(
      kind: .streamEnd,
      range: SourceRange(start: Mark(event.start_mark), end: Mark(event.end_mark)))
    switch event.type {
    case YAML_STREAM_START_EVENT: found.kind = .streamStart
    case YAML_DOCUMENT_START_EVENT: found.kind = .documentStart
    case YAML_DOCUMENT_END_EVENT: found.kind = .documentEnd
    case YAML_ALIAS_EVENT:
      found.kind = .alias
      found.text = Self.text(event.data.alias.anchor) ?? ""
    case YAML_SCALAR_EVENT:
      let scalar = event.data.scalar
      found.kind = .scalar
      found.text = String(
        decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
      found.isPlain = scalar.style == YAML_PLAIN_SCALAR_STYLE
      found.anchor = Self.text(scalar.anchor)
      found.tag = Self.text(scalar.tag)
    case YAML_SEQUENCE_START_EVENT:
      found.kind = .sequenceStart
      found.anchor = Self.text(event.data.sequence_start.anchor)
      found.tag = Self.text(event.data.sequence_start.tag)
    case YAML_SEQUENCE_END_EVENT: found.kind = .sequenceEnd
    case YAML_MAPPING_START_EVENT:
      found.kind = .mappingStart
      found.anchor = Self.text(event.data.mapping_start.anchor)
      found.tag = Self.text(event.data.mapping_start.tag)
    case YAML_MAPPING_END_EVENT: found.kind = .mappingEnd
    default: break
    }
    return found
  }

  private static func text(_ bytes: UnsafeMutablePointer<yaml_char_t>?) -> String? {
    bytes.map { String(cString: $0) }
  }

  private var problem: YAMLProblem {
    YAMLProblem(
      words: parser.pointee.problem.map { String(cString: $0) } ?? "out of memory",
      activity: parser.pointee.context.map { String(cString: $0) } ?? "",
      mark: Mark(parser.pointee.problem_mark), start: Mark(parser.pointee.context_mark))
  }
}

/// What libyaml says about a syntax error, in its own words.
struct YAMLProblem: Error {
  var words: String
  var activity: String
  var mark: Mark
  /// Where the thing began that failed at `mark`; 1:1 when there is no such thing.
  var start: Mark
}

extension Mark {
  fileprivate init(_ mark: yaml_mark_t) {
    self.init(line: Int(mark.line) + 1, column: Int(mark.column) + 1)
  }
}
