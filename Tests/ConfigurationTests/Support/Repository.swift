// SPDX-License-Identifier: Apache-2.0
// Files of the repository, found from this file's own place, and the rewriting of those that are
// generated: with UPDATE_GENERATED=1 a test writes what it would otherwise compare.

import Glibc
import Testing

@testable import Configuration

/// The path of a file of the repository.
func repositoryPath(_ relative: String) -> String {
  let parts = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(4)
  return parts.joined(separator: "/") + "/" + relative
}

/// The text of a file of the repository; empty when it is missing.
func repositoryFile(_ relative: String) -> String {
  let bytes = try? readFile(repositoryPath(relative), bytesMax: 16 << 20)
  return String(decoding: bytes ?? [], as: UTF8.self)
}

/// Expects that a file has this text, or gives it this text.
func expectGenerated(_ relative: String, _ text: String) {
  if getenv("UPDATE_GENERATED") != nil { writeFile(repositoryPath(relative), text) }
  #expect(
    repositoryFile(relative) == text, "\(relative) is stale: run with UPDATE_GENERATED=1")
}

/// Replaces a file.
func writeFile(_ path: String, _ text: String) {
  guard let file = fopen(path, "w") else {
    Issue.record("cannot write \(path)")
    return
  }
  defer { fclose(file) }
  _ = text.utf8.withContiguousStorageIfAvailable { fwrite($0.baseAddress, 1, $0.count, file) }
}
