// SPDX-License-Identifier: Apache-2.0
// The part of a line that a diagnostic shows, with carets below it. Terminals count cells, files
// count characters: tabs, escapes, combining and wide characters make the two differ, so the line
// is cut into cells first and the carets are placed by cells. A long line is shown as a window
// around the fault.

/// A line of a file and the line of carets that goes below it.
struct LineExcerpt {
  /// More cells than this are not shown.
  static let cellsMax = 100

  let text: String
  let carets: String

  init(_ line: String, column: Int, length: Int) {
    // Nothing far beyond the window is looked at: a line may have megabytes.
    let first = max(0, column - 1 - Self.cellsMax)
    let scalars = line.unicodeScalars.dropFirst(first).prefix(3 * Self.cellsMax)
    var cells = scalars.map(Cell.init)
    var isCutBefore = first > 0
    let isLineLonger = line.unicodeScalars.dropFirst(first + cells.count).first != nil
    var start = min(column - 1 - first, cells.count)
    var width = cells.reduce(0) { $0 + $1.width }
    while start > 0, width > Self.cellsMax,
      cells[..<start].reduce(0, { $0 + $1.width }) > Self.cellsMax / 2
    {
      width -= cells.removeFirst().width
      start -= 1
      isCutBefore = true
    }
    var isCutAfter = isLineLonger
    while width > Self.cellsMax, cells.count > start + 1 {
      width -= cells.removeLast().width
      isCutAfter = true
    }

    let marked = cells[start...].prefix(max(1, length)).reduce(0) { $0 + $1.width }
    let indent = cells[..<start].reduce(isCutBefore ? 1 : 0) { $0 + $1.width }
    text =
      (isCutBefore ? "…" : "") + cells.map(\.text).joined() + (isCutAfter ? "…" : "")
    carets =
      String(repeating: " ", count: indent) + "^"
      + String(repeating: "~", count: max(0, marked - 1))
  }

  private struct Cell {
    let text: String
    let width: Int

    init(_ scalar: Unicode.Scalar) {
      if scalar == "\t" {
        (text, width) = ("    ", 4)
      } else if !isPrintable(scalar) {
        text = escape(scalar)
        width = text.utf8.count
      } else {
        text = String(Character(scalar))
        width = Self.width(scalar)
      }
    }

    /// After Unicode's East Asian Width (UAX 11), in the blocks that matter.
    private static func width(_ scalar: Unicode.Scalar) -> Int {
      switch scalar.properties.generalCategory {
      case .nonspacingMark, .enclosingMark: return 0
      default: break
      }
      switch scalar.value {
      case 0x1100...0x115F, 0x2E80...0x303E, 0x3041...0x33FF, 0x3400...0x4DBF, 0x4E00...0x9FFF,
        0xA000...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60,
        0xFFE0...0xFFE6, 0x1F300...0x1F64F, 0x1F900...0x1F9FF, 0x20000...0x3FFFD:
        return 2
      default: return 1
      }
    }
  }
}
