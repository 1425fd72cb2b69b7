// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Configuration

/// All mappings with known keys in a shape, by their names.
private func objects(in shape: Shape, _ found: inout [String: ObjectShape]) {
  switch shape {
  case .scalar: break
  case .list(let item, _): objects(in: item, &found)
  case .named(let value, _, _): objects(in: value, &found)
  case .either(_, let list, let mapping):
    if let list { objects(in: list, &found) }
    if let mapping { objects(in: mapping, &found) }
  case .object(let object):
    guard found.updateValue(object, forKey: object.name) == nil else { return }
    for field in object.fields { objects(in: field.shape, &found) }
  }
}

@Suite struct RenamedKeysTests {
  @Test func everyNewNameIsAKeyAndNoOldOneIs() throws {
    var found: [String: ObjectShape] = [:]
    objects(in: Codec<FileDraft>.file.shape, &found)
    for (name, keys) in renamedKeys {
      let known = try #require(found[name]?.fields.map(\.name), "there is no mapping \(name)")
      for (old, new) in keys {
        #expect(known.contains(new), "\(name) has no \(new)")
        #expect(!known.contains(old), "\(name) has \(old) again")
      }
    }
  }

  @Test(arguments: [
    ("half_close: 1m", "half_close_timeout"), ("linger: 1s", "flush_timeout"),
  ])
  func anOldNameIsRefusedAndTheNewOneTold(_ setting: String, _ name: String) {
    let own = report(routeFile(setting))
    #expect(own.contains("error: unknown key"), "\(own)")
    #expect(own.contains("it is called `\(name)` now"), "\(own)")
    let shared = report("defaults: {route: {\(setting)}}\n" + routeFile("idle: 5s"))
    #expect(shared.contains("it is called `\(name)` now"), "\(shared)")
  }
}
