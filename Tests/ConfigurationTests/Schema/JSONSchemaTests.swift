// SPDX-License-Identifier: Apache-2.0
// The generated files are what the description generates. scripts/check-schema.sh proves that the
// schema and the decoder agree: with SLUICE_SCHEMA_CASES=FILE a test writes generated documents
// with the decoder's verdicts there, one JSON object per line, and Python's jsonschema judges them.

import Glibc
import Testing

@testable import Configuration

@Suite struct JSONSchemaTests {
  @Test func theSchemaInDeployIsTheGeneratedOne() {
    expectGenerated("deploy/sluice.schema.json", jsonSchema())
  }

  @Test func generatedDocumentsAreAcceptedUntilMutated() {
    var refused = 0
    for (seed, document) in documents(count: 300) {
      let found = decodeFile(
        Array(document.value.line.utf8), environment: ShapeGenerator.environment)
      if document.isMutated {
        refused += found.diagnostics.shapeErrorCount > 0 ? 1 : 0
      } else {
        let shown = found.diagnostics.finished(file: "seed \(seed)", lines: found.lines).shown
        #expect(found.diagnostics.shapeErrorCount == 0, "seed \(seed): \(shown)")
      }
    }
    #expect(refused > 50, "mutations must matter")
  }

  @Test(.enabled(if: getenv("SLUICE_SCHEMA_CASES") != nil))
  func casesForTheOtherJudge() {
    guard let path = getenv("SLUICE_SCHEMA_CASES") else { return }
    var text = ""
    for (seed, document) in documents(count: 2000) {
      let line = document.value.line
      let found = decodeFile(Array(line.utf8), environment: ShapeGenerator.environment)
      let record = JSON.object([
        "seed": .integer(Int(seed)), "document": document.value,
        "shapeErrors": .integer(found.diagnostics.shapeErrorCount),
        "errors": .integer(found.diagnostics.errorCount),
        "report": .string(
          found.diagnostics.finished(file: "f", lines: [line]).shown.map(\.message)
            .joined(separator: "; ")),
      ])
      text += record.line + "\n"
    }
    writeFile(String(cString: path), text)
  }

  private func documents(
    count: Int
  ) -> [(seed: UInt64, document: (value: JSON, isMutated: Bool))] {
    (0..<UInt64(count)).map { seed in
      var generator = ShapeGenerator(seed: seed)
      return (seed, generator.document())
    }
  }
}
