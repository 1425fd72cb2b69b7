// SPDX-License-Identifier: Apache-2.0
// Secrets in the file: read like text, but no report repeats them.

import Plan

extension Codec<Located<Secret>> {
  /// A password.
  static var password: Codec {
    let shape = Shape.scalar(
      ScalarShape(
        accepted: "text, best from the environment: `${NAME}`", patterns: ["\(freeTextPattern)+"],
        examples: ["secret", "a$$b"]))
    return Codec(shape: shape) { node, place, diagnostics in
      guard let scalar = node.scalar(expecting: shape, at: place, &diagnostics) else { return nil }
      func refuse(_ reason: String, hint: String? = nil, isShape: Bool = true) -> Located<Secret>? {
        diagnostics.error(
          at: node.range, "the password \(reason)", hints: hint.map { [$0] } ?? [],
          isShape: isShape)
        return nil
      }
      let text = scalar.text
      guard !text.isEmpty else { return refuse("is empty", hint: "leave out `password`") }
      guard !text.unicodeScalars.contains(where: { $0.value < 0x20 || $0 == "\u{7F}" }) else {
        return refuse("holds a control character")
      }
      guard !scalar.isNumber, !scalar.isBoolean else {
        return refuse("is no text for YAML", hint: "put it in quotes")
      }
      guard text.utf8.count <= 1024 else {
        return refuse("is longer than 1024 bytes", isShape: false)
      }
      return Located(value: Secret(text), range: node.range, shown: "•••", isExpanded: true)
    }
  }
}

extension Codec<Secret> {
  /// A password.
  static var password: Codec { Codec<Located<Secret>>.password.map(\.value) }
}
