// SPDX-License-Identifier: Apache-2.0
// A line of either log, taken apart: text by its `key=value` pairs, JSON as JSON.

import Foundation

/// A line of the access log or of the operational log.
struct LogLine {
  /// The words before the first pair, without time and level: `ready`, `end`.
  let message: String
  /// `info`, `warning`, …; `access` for an access record.
  let level: String
  let fields: [String: String]

  subscript(key: String) -> String? { fields[key] }

  init?(_ text: some StringProtocol) {
    guard text.hasPrefix("{") else {
      guard let line = LogLine.text(String(text)) else { return nil }
      self = line
      return
    }
    guard
      let object = try? JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
    else { return nil }
    fields = object.compactMapValues { $0 is NSNull ? nil : "\($0)" }
    message = fields["message"] ?? fields["access"] ?? ""
    level = fields["level"] ?? "access"
  }

  private init(message: String, level: String, fields: [String: String]) {
    self.message = message
    self.level = level
    self.fields = fields
  }

  private static func text(_ text: String) -> LogLine? {
    var words: [String] = []
    var fields: [String: String] = [:]
    var rest = text[...]
    while !rest.isEmpty {
      rest = rest.drop { $0 == " " }
      let name = rest.prefix { $0 != "=" && $0 != " " && $0 != "\"" }
      let after = rest[name.endIndex...]
      if after.hasPrefix("=\"") {
        let value = after.dropFirst(2).prefix { $0 != "\"" }
        fields[String(name)] = String(value)
        rest = rest[value.endIndex...].dropFirst()
      } else if after.hasPrefix("=") {
        let value = after.dropFirst().prefix { $0 != " " }
        fields[String(name)] = String(value)
        rest = rest[value.endIndex...]
      } else {
        let word = rest.prefix { $0 != " " }
        if fields.isEmpty { words.append(String(word)) }
        rest = rest[word.endIndex...]
      }
    }
    guard words.count >= 3 else { return nil }
    return LogLine(
      message: words.dropFirst(2).joined(separator: " "), level: words[1], fields: fields)
  }
}

/// The complete lines of a log.
func logLines(_ text: String) -> [LogLine] {
  guard let end = text.lastIndex(of: "\n") else { return [] }
  return text[..<end].split(separator: "\n").compactMap { LogLine($0) }
}
