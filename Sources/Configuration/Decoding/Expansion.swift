// SPDX-License-Identifier: Apache-2.0
// `${NAME}`, `${NAME:-default}` and `$$` in values, expanded after YAML has been parsed, so that no
// variable can change the structure of the file. Keys are left alone, and so is what stands under
// the free `x-` keys until an alias uses it elsewhere. The text of the file is kept beside the
// expanded one: only the former is ever shown.

/// Gives the value of an environment variable, `nil` when it is not set.
public typealias Environment = (_ name: String) -> String?

/// The tree with every value expanded; what cannot be expanded is reported and marked as failed.
func expand(
  _ root: Node, of source: SourceText, environment: Environment, _ diagnostics: inout Diagnostics
) -> Node {
  guard source.mayHaveDollars else { return root }
  guard case .mapping(let entries) = root.content else {
    return expandNode(root, environment, &diagnostics)
  }
  var root = root
  root.content = .mapping(
    entries.map { entry in
      guard !entry.key.hasPrefix("x-") else { return entry }
      var entry = entry
      entry.value = expandNode(entry.value, environment, &diagnostics)
      return entry
    })
  return root
}

private func expandNode(
  _ node: Node, _ environment: Environment, _ diagnostics: inout Diagnostics
) -> Node {
  var node = node
  switch node.content {
  case .failed: break
  case .sequence(let items):
    node.content = .sequence(items.map { expandNode($0, environment, &diagnostics) })
  case .mapping(let entries):
    node.content = .mapping(
      entries.map { entry in
        var entry = entry
        entry.value = expandNode(entry.value, environment, &diagnostics)
        return entry
      })
  case .scalar(var scalar):
    guard scalar.text.utf8.contains(UInt8(ascii: "$")) else { break }
    let written = scalar.text
    do throws(ExpansionFailure) {
      let (text, isExpanded) = try expandText(scalar.text, environment)
      scalar.written = written
      scalar.text = text
      scalar.isExpanded = isExpanded
      node.content = .scalar(scalar)
    } catch {
      let failure = node.secrecy.map { error.hiding(written, $0) } ?? error
      diagnostics.error(
        at: node.range, failure.message, hints: failure.hints, isShape: failure.isShape)
      node.content = .failed
    }
  }
  return node
}

/// Why a text cannot be expanded.
struct ExpansionFailure: Error {
  var message: String
  var hints: [String]
  /// The variable that is not set, if that is all.
  var unset: String?
  var isShape = true

  /// The same without a part of the text that it is about, but for the name of a variable that is all
  /// of it.
  fileprivate func hiding(_ text: String, _ secrecy: Secrecy) -> ExpansionFailure {
    guard let unset else {
      let dollar = "for a dollar, write `$$`; for the environment, `${NAME}`, or `${NAME:-default}`"
      let isOpen = message.hasPrefix("a `")
      return ExpansionFailure(message: isOpen ? message : "this is no expansion", hints: [dollar])
    }
    if secrecy == .sent || text == "${\(unset)}" { return self }
    return ExpansionFailure(
      message: "an environment variable in this secret is not set",
      hints: ["set it; a dollar that is a part of the secret is `$$`"], isShape: false)
  }
}

/// The text with its expansions done, and whether there were any. `$$` alone is none: it is in the
/// file.
func expandText(
  _ text: String, _ environment: Environment
) throws(ExpansionFailure) -> (text: String, isExpanded: Bool) {
  let dollar = UInt8(ascii: "$")
  var result: [UInt8] = []
  var isExpanded = false
  var rest = Array(text.utf8)[...]
  while let byte = rest.popFirst() {
    guard byte == dollar else {
      result.append(byte)
      continue
    }
    if rest.first == dollar {
      rest.removeFirst()
      result.append(dollar)
      continue
    }
    guard rest.first == UInt8(ascii: "{") else {
      let name = String(decoding: rest.prefix(while: isNameByte), as: UTF8.self)
      throw ExpansionFailure(
        message: "a `$` that starts nothing",
        hints: [
          name.isEmpty ? "for a dollar, write `$$`" : "write `${\(name)}`, or `$$` for a dollar"
        ])
    }
    guard let end = rest.firstIndex(of: UInt8(ascii: "}")) else {
      throw ExpansionFailure(message: "a `${` without its `}`", hints: [])
    }
    result += try value(of: rest[(rest.startIndex + 1)..<end], environment).utf8
    isExpanded = true
    rest = rest[(end + 1)...]
  }
  return (String(decoding: result, as: UTF8.self), isExpanded)
}

/// What `NAME` or `NAME:-default` stands for.
private func value(
  of expression: ArraySlice<UInt8>, _ environment: Environment
) throws(ExpansionFailure) -> String {
  let nameBytes = expression.prefix(while: isNameByte)
  let name = String(decoding: nameBytes, as: UTF8.self)
  let rest = expression[nameBytes.endIndex...]
  let isWellFormed = rest.isEmpty || rest.starts(with: ":-".utf8)
  guard let first = nameBytes.first, !isDigit(first), isWellFormed else {
    throw ExpansionFailure(
      message:
        "\(quoted("${" + String(decoding: expression, as: UTF8.self) + "}")) is no expansion",
      hints: ["write `${NAME}` or `${NAME:-default}`"])
  }
  let set = environment(name)
  guard rest.isEmpty else {
    if let set, !set.isEmpty { return set }
    return String(decoding: rest.dropFirst(2), as: UTF8.self)
  }
  guard let set else {
    throw ExpansionFailure(
      message: "the environment variable \(quoted(name)) is not set",
      hints: ["set it, or give a default: `${\(escaped(name, scalarsMax: 60)):-…}`"],
      unset: name, isShape: false)
  }
  return set
}

private func isNameByte(_ byte: UInt8) -> Bool {
  isLetter(byte) || isDigit(byte) || byte == UInt8(ascii: "_")
}
