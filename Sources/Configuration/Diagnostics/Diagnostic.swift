// SPDX-License-Identifier: Apache-2.0
// One thing that is wrong with a configuration, where it is, and what to do about it. The text
// form is that of compilers, so that editors and eyes find the place:
//
//     config.yaml:12:5: error: unknown key `lisen`
//       12 |     lisen: ":80"
//          |     ^~~~~
//          = did you mean `listen`?
//
// The line shown is the file's own; what `${NAME}` stands for is never in a diagnostic.

/// Something to tell about a configuration.
public struct Diagnostic: Hashable, Sendable {
  /// Whether the configuration can be used in spite of it.
  public enum Severity: String, Hashable, Sendable {
    /// There is no plan.
    case error
    /// There is a plan, but perhaps not the intended one.
    case warning
  }

  /// How bad it is.
  public var severity: Severity
  /// The file's name as given by the caller.
  public var file: String
  /// The line, counted from 1; 0 when it is about the file as a whole.
  public var line: Int
  /// The column in characters (Unicode scalars), counted from 1; 0 as for `line`.
  public var column: Int
  /// How many characters are marked.
  public var length: Int
  /// What is wrong, in one sentence.
  public var message: String
  /// What to do about it, a line each.
  public var hints: [String]
  /// The line of the file, without its end; `nil` when it is about the file as a whole.
  public var sourceLine: String?

  /// Makes a diagnostic.
  public init(
    severity: Severity, file: String, line: Int, column: Int, length: Int, message: String,
    hints: [String] = [], sourceLine: String? = nil
  ) {
    self.severity = severity
    self.file = file
    self.line = line
    self.column = column
    self.length = length
    self.message = message
    self.hints = hints
    self.sourceLine = sourceLine
  }
}

extension Diagnostic {
  private var head: String {
    let place = line > 0 ? "\(escaped(file)):\(line):\(column)" : escaped(file)
    return "\(place): \(severity.rawValue): \(message)"
  }

  /// The same in one line, for a log: without the excerpt, the hints in parentheses.
  public var summary: String {
    hints.isEmpty ? head : "\(head) (\(hints.joined(separator: "; ")))"
  }
}

extension Diagnostic: CustomStringConvertible {
  /// The text form: several lines, the last one without its end.
  public var description: String {
    var text = head
    var margin = "  "
    if let sourceLine {
      let number = String(line)
      let excerpt = LineExcerpt(sourceLine, column: column, length: length)
      margin = String(repeating: " ", count: number.count + 3)
      text += "\n  \(number) | \(excerpt.text)\n\(margin)| \(excerpt.carets)"
    }
    for hint in hints { text += "\n\(margin)= \(hint)" }
    return text
  }
}

/// Text from a file in a message: in backticks, unprintable characters escaped, shortened.
func quoted(_ text: String) -> String {
  "`\(escaped(text, scalarsMax: 60))`"
}

/// Text without anything that moves a terminal's cursor or reorders what it shows.
func escaped(_ text: String, scalarsMax: Int = 4096) -> String {
  var result = ""
  for (index, scalar) in text.unicodeScalars.enumerated() {
    if index == scalarsMax { return result + "…" }
    if isPrintable(scalar) {
      result.unicodeScalars.append(scalar)
    } else {
      result += escape(scalar)
    }
  }
  return result
}

func escape(_ scalar: Unicode.Scalar) -> String {
  "\\u{\(String(scalar.value, radix: 16, uppercase: true))}"
}

func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
  switch scalar.properties.generalCategory {
  case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator,
    .paragraphSeparator:
    false
  default: true
  }
}
