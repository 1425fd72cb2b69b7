// SPDX-License-Identifier: Apache-2.0
// Collects what is wrong while a file is read, so that one run tells everything. The same fault at
// the same place is told once (an alias lets a value be read many times), and both what is kept
// and what is shown is bounded: a file of nothing but faults costs no more than others.

/// What has been found so far.
struct Diagnostics {
  /// How many are kept; the rest is counted.
  static let keptMax = 2000
  /// How many are shown.
  static let shownMax = 100

  /// One finding, before it knows its file.
  struct Finding: Hashable {
    var severity: Diagnostic.Severity
    var range: SourceRange?
    var message: String
    var hints: [String]
    /// Whether a schema could have found it: a wrong kind, key or form, not a wrong meaning.
    var isShape: Bool
  }

  /// Where values stand that are not shown; `nil` while the file could not be read as YAML, and is looked
  /// at as text.
  var secrets: [SourceRange]?
  private var known: Set<Finding> = []
  private(set) var errorCount = 0
  private(set) var shapeErrorCount = 0
  private var overflow = 0
  /// Suggestions compare a name with all others; this bounds how often.
  private var suggestionsLeft = 200

  mutating func error(
    at range: SourceRange?, _ message: String, hints: [String] = [], isShape: Bool = true
  ) {
    add(Finding(severity: .error, range: range, message: message, hints: hints, isShape: isShape))
  }

  mutating func warning(at range: SourceRange, _ message: String, hints: [String] = []) {
    add(
      Finding(severity: .warning, range: range, message: message, hints: hints, isShape: false))
  }

  mutating func report(_ failure: SyntaxFailure) {
    error(at: failure.range, failure.message, hints: failure.hints)
  }

  private mutating func add(_ finding: Finding) {
    guard known.count < Self.keptMax else {
      overflow += 1
      if finding.severity == .error { errorCount += 1 }
      return
    }
    guard known.insert(finding).inserted else { return }
    if finding.severity == .error {
      errorCount += 1
      if finding.isShape { shapeErrorCount += 1 }
    }
  }

  /// A hint that names the nearest of the candidates.
  mutating func didYouMean(_ text: String, among candidates: [String]) -> [String] {
    guard suggestionsLeft > 0 else { return [] }
    suggestionsLeft -= 1
    return suggestion(for: text, among: candidates).map { ["did you mean `\($0)`?"] } ?? []
  }

  /// Errors and warnings in the order of the file, errors first where there are too many, and how
  /// many were left out.
  func finished(file: String, lines: [String]) -> (shown: [Diagnostic], omittedCount: Int) {
    let sorted = known.sorted { a, b in
      (a.range?.start ?? .start, a.message) < (b.range?.start ?? .start, b.message)
    }
    let errors = sorted.filter { $0.severity == .error }
    let pool = sorted.count > Self.shownMax && !errors.isEmpty ? errors : sorted
    // A file without faults may be long.
    let hidden =
      pool.isEmpty ? lines : secrets.map { hiding($0, in: lines) } ?? hidingSecrets(in: lines)
    let shown = pool.prefix(Self.shownMax).map { $0.diagnostic(file: file, lines: hidden) }
    return (shown, sorted.count + overflow - shown.count)
  }
}

extension Diagnostics.Finding {
  func diagnostic(file: String, lines: [String]) -> Diagnostic {
    guard let range, !lines.isEmpty else {
      return Diagnostic(
        severity: severity, file: file, line: 0, column: 0, length: 0, message: message,
        hints: hints)
    }
    var start = range.start
    // What is missing at the end of a file is shown behind its last line.
    if start.line >= lines.count, lines.count > 1, lines[lines.count - 1].isEmpty {
      start = Mark(line: lines.count - 1, column: .max)
    }
    start.line = min(start.line, lines.count)
    let line = lines[start.line - 1]
    start.column = min(start.column, line.unicodeScalars.count + 1)
    return Diagnostic(
      severity: severity, file: file, line: start.line, column: start.column,
      length: range.length, message: message, hints: hints, sourceLine: line)
  }
}
