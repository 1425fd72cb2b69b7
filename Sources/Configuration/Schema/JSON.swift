// SPDX-License-Identifier: Apache-2.0
// A JSON value whose objects keep their order, and its text. It exists because the schema is a
// file under version control: the same description must give the same bytes, and the keys must
// stand in the order in which a person would write them.

/// A JSON value (RFC 8259).
enum JSON: Hashable {
  case object([Member])
  case array([JSON])
  case string(String)
  case integer(Int)
  case boolean(Bool)
  case null

  struct Member: Hashable {
    var key: String
    var value: JSON
  }

  static func object(_ members: KeyValuePairs<String, JSON>) -> JSON {
    .object(members.map { Member(key: $0.key, value: $0.value) })
  }

  /// Text in lines, indented by two spaces; lists of plain values on one line.
  func text(indent: Int = 0) -> String {
    let inner = String(repeating: " ", count: indent + 2)
    let outer = String(repeating: " ", count: indent)
    switch self {
    case .object(let members):
      guard !members.isEmpty else { return "{}" }
      let lines = members.map {
        "\(inner)\(JSON.quote($0.key)): \($0.value.text(indent: indent + 2))"
      }
      return "{\n" + lines.joined(separator: ",\n") + "\n\(outer)}"
    case .array(let items):
      if items.allSatisfy(\.isPlain) {
        return "[" + items.map { $0.text() }.joined(separator: ", ") + "]"
      }
      let lines = items.map { inner + $0.text(indent: indent + 2) }
      return "[\n" + lines.joined(separator: ",\n") + "\n\(outer)]"
    case .string(let text): return JSON.quote(text)
    case .integer(let number): return String(number)
    case .boolean(let value): return value ? "true" : "false"
    case .null: return "null"
    }
  }

  /// Text on one line.
  var line: String {
    switch self {
    case .object(let members):
      "{" + members.map { "\(JSON.quote($0.key)): \($0.value.line)" }.joined(separator: ", ") + "}"
    case .array(let items): "[" + items.map(\.line).joined(separator: ", ") + "]"
    default: text()
    }
  }

  /// As a person writes it in YAML: without quotes where none are needed.
  var yaml: String {
    switch self {
    case .string(let text): text
    case .array(let items): "[" + items.map(\.yaml).joined(separator: ", ") + "]"
    default: line
    }
  }

  private var isPlain: Bool {
    switch self {
    case .object, .array: false
    default: true
    }
  }

  private static func quote(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\t": result += "\\t"
      default:
        if scalar.value < 0x20 || scalar.value == 0x7F {
          let digits = String(scalar.value, radix: 16)
          result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        } else {
          result.unicodeScalars.append(scalar)
        }
      }
    }
    return result + "\""
  }
}
