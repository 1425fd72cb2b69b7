// SPDX-License-Identifier: Apache-2.0
// Reports show lines of the file, and go to terminals, logs of builds and chats. What stands behind a key
// for a secret is not shown, whatever the fault is, and neither is what a check sends, which may hold one.
// Where the file could be read, its tree says exactly where those values are (`Secrecy`); where YAML itself
// is broken, lines are looked at as text, and rather too much is hidden than too little.

/// Why a value is not shown.
enum Secrecy {
  /// A secret as a whole: what it seems to be made of is a part of it.
  case password
  /// What a check sends: the names of environment variables in it may be shown.
  case sent

  /// Whether the value of a key is one, and why.
  init?(key: String) {
    switch key {
    case "password": self = .password
    case "send", "headers": self = .sent
    default: return nil
    }
  }

  /// The same for what is no key here, but looks like one of a password; only single values are meant.
  static func looksSecret(_ key: String) -> Bool {
    guard (3...11).contains(key.utf8.count) else { return false }
    let name = key.lowercased()
    let others = ["pass", "passwd", "passphrase", "pwd", "secret", "requirepass", "masterauth"]
    guard name != "password", abs(name.utf8.count - 8) <= 2 || others.contains(name) else {
      return name == "password"
    }
    return others.contains(name) || editDistance(Array(name.utf8), Array("password".utf8)) <= 2
  }

  /// How much of a text is a key for a secret, with its colon, when the space behind that is missing.
  static func keyLength(of text: String) -> Int? {
    // Asked for every text of a file.
    guard let first = text.utf8.first, "psh".utf8.contains(first),
      let key = ["password:", "send:", "headers:"].first(where: text.hasPrefix)
    else { return nil }
    // A host may be called like a key.
    let rest = text.utf8.dropFirst(key.utf8.count)
    return key != "password:" && rest.allSatisfy(isDigit) ? nil : key.utf8.count
  }
}

extension Node {
  /// The same node, whose values are not to be shown. The names of header fields are.
  func hidden(_ secrecy: Secrecy) -> Node {
    var node = self
    node.secrecy = secrecy
    switch content {
    case .scalar, .failed: break
    case .sequence(let items): node.content = .sequence(items.map { $0.hidden(secrecy) })
    case .mapping(let entries):
      node.content = .mapping(
        entries.map { entry in
          var entry = entry
          entry.value = entry.value.hidden(secrecy)
          return entry
        })
    }
    return node
  }
}

/// Lines with everything in the ranges replaced by dots, as many as there were characters, so that
/// whatever points into a line still points there. Quotes around a value stay, and so does `${NAME}`: what
/// comes from the environment is not in the file. A default is.
func hiding(_ ranges: [SourceRange], in lines: [String]) -> [String] {
  var lines = lines
  for range in ranges where range.start.line <= range.end.line {
    for number in range.start.line...range.end.line where lines.indices.contains(number - 1) {
      var scalars = Array(lines[number - 1].unicodeScalars)
      let start = number == range.start.line ? range.start.column - 1 : 0
      let end = number == range.end.line ? range.end.column - 1 : scalars.count
      hide(
        min(start, scalars.count)..<max(min(start, scalars.count), min(end, scalars.count)),
        in: &scalars)
      lines[number - 1] = text(scalars)
    }
  }
  return lines
}

/// Lines of a file that YAML could not read, with all that stands behind the keys of secrets hidden.
func hidingSecrets(in lines: [String]) -> [String] {
  var lines = lines
  /// Whether lines that are indented further, or come before a bracket or a quote is closed, belong to one.
  var indentation: Int?
  var brackets = 0
  var quotes = 0
  for index in lines.indices {
    // Most lines have none, and a line may have megabytes.
    if indentation == nil, hiddenStart(in: lines[index]) == nil { continue }
    var scalars = Array(lines[index].unicodeScalars)
    let first = scalars.firstIndex { $0 != " " } ?? scalars.count
    let isContinued = indentation.map { first > $0 } == true || brackets > 0 || quotes % 2 == 1
    var start = hiddenStart(in: lines[index])
    if isContinued, first < scalars.count {
      start = first
    } else if let key = start {
      (brackets, quotes) = (0, 0)
      indentation = scalars[..<key].firstIndex { $0 != " " && $0 != "-" } ?? 0
    } else {
      if first < scalars.count { indentation = nil }
      continue
    }
    guard let start else { continue }
    for scalar in scalars[start...] {
      if scalar == "{" || scalar == "[" { brackets += 1 }
      if scalar == "}" || scalar == "]" { brackets -= 1 }
      if scalar == "\"" || scalar == "'" { quotes += 1 }
    }
    hide(start..<scalars.count, in: &scalars)
    lines[index] = text(scalars)
  }
  return lines
}

/// Where the value of the first key of a secret begins in a line, as text; `nil` where there is none.
func hiddenStart(in line: String) -> Int? {
  guard line.utf8.contains(UInt8(ascii: ":")) else { return nil }
  let keys = ["password", "send", "headers"].map { Array($0.unicodeScalars) }
  let scalars = Array(line.unicodeScalars.prefix(1 << 20))
  for position in scalars.indices {
    for key in keys where scalars[position...].starts(with: key) {
      let isInWord =
        position > 0 && (isLetter(scalars[position - 1]) || scalars[position - 1] == "_")
      guard !isInWord || key.count == "password".count else { continue }
      var end = position + key.count
      while end < scalars.count, ["\"", "'", " "].contains(scalars[end]) { end += 1 }
      if end < scalars.count, scalars[end] == ":" { return end + 1 }
    }
  }
  return nil
}

private func isLetter(_ scalar: Unicode.Scalar) -> Bool {
  scalar.isASCII && isLetter(UInt8(scalar.value))
}

/// Replaces a value by dots, but for the colon and the spaces before it, its quotes, and the name of a
/// variable that is all of it.
private func hide(_ range: Range<Int>, in scalars: inout [Unicode.Scalar]) {
  var range = range
  while let first = scalars[range].first, first == " " || first == ":" { range = range.dropFirst() }
  if let last = scalars[range].lastIndex(where: { $0 != " " }) {
    range = range.lowerBound..<last + 1
  }
  if range.count > 1, let quote = scalars[range].first, quote == "\"" || quote == "'" {
    range = range.dropFirst()
    if scalars[range].last == quote { range = range.dropLast() }
  }
  if scalars[range].starts(with: "${".unicodeScalars), scalars[range].last == "}" {
    let name = scalars[range].dropFirst(2).prefix {
      $0 == "_" || isLetter($0) || ("0"..."9").contains($0)
    }
    range = name.endIndex..<range.upperBound - 1
    if range.isEmpty { return }
    guard !name.isEmpty, scalars[range].starts(with: ":-".unicodeScalars) else {
      return dot(name.startIndex..<range.upperBound, in: &scalars)
    }
    range = range.dropFirst(2)
  }
  dot(range, in: &scalars)
}

private func dot(_ range: Range<Int>, in scalars: inout [Unicode.Scalar]) {
  for index in range { scalars[index] = "•" }
}

private func text(_ scalars: [Unicode.Scalar]) -> String {
  var view = String.UnicodeScalarView()
  view.append(contentsOf: scalars)
  return String(view)
}
