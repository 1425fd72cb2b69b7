// SPDX-License-Identifier: Apache-2.0
// The reference tables of docs/configuration.md, made from the shapes that decode the file, so
// that no key can be forgotten and no default can be wrong.

/// Markdown: a section with a table for every mapping of the configuration file.
public func referenceMarkdown() -> String {
  guard case .object(let root) = Codec<FileDraft>.file.shape else { return "" }
  var sections: [ObjectShape] = []
  collect(root, into: &sections)
  return sections.map(section).joined(separator: "\n")
}

private func section(_ object: ObjectShape) -> String {
  var text = "### \(object.name)\n\n\(object.documentation)\n"
  guard !object.fields.isEmpty else { return text }
  text += "\n"
  text += "| key | what | accepted | default |\n|---|---|---|---|\n"
  for field in object.fields {
    let standard =
      field.isRequired
      ? "required"
      : [field.defaultValue.map { "`\($0.yaml)`" }, field.defaultNote].compactMap { $0 }
        .joined(separator: "; ")
    let cells = [
      "`\(field.name)`", field.documentation, field.shape.accepted(.markdown),
      standard.isEmpty ? "–" : standard,
    ]
    let row = cells.map { cell in
      String(cell.flatMap { $0 == "|" ? "\\|" : String($0) })
    }
    text += "| " + row.joined(separator: " | ") + " |\n"
  }
  for choice in object.choices {
    text += "\n\(choice.words).\n"
  }
  if object.allowsExtensions {
    text += "\nKeys that start with `x-` are free: a home for anchors.\n"
  }
  return text
}

private func collect(_ object: ObjectShape, into sections: inout [ObjectShape]) {
  guard !sections.contains(where: { $0.name == object.name }) else { return }
  sections.append(object)
  for field in object.fields { collect(field.shape, into: &sections) }
}

private func collect(_ shape: Shape, into sections: inout [ObjectShape]) {
  switch shape {
  case .scalar: break
  case .list(let item, _): collect(item, into: &sections)
  case .object(let object): collect(object, into: &sections)
  case .named(let value, _, _): collect(value, into: &sections)
  case .either(_, let list, let mapping):
    if let list { collect(list, into: &sections) }
    if let mapping { collect(mapping, into: &sections) }
  }
}
