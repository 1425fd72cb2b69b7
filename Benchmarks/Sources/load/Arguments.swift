// `--name value` pairs after the subcommand; what is unknown or malformed ends the run.

/// The options of one run, each taken by name.
struct Arguments {
  private var values: [String: String] = [:]

  init(_ words: ArraySlice<String>, known: Set<String>) {
    var rest = words
    while let name = rest.popFirst() {
      guard name.hasPrefix("--"), known.contains(String(name.dropFirst(2))) else {
        fail("unknown option \(name)", code: 64)
      }
      guard let value = rest.popFirst() else { fail("\(name) needs a value", code: 64) }
      values[String(name.dropFirst(2))] = value
    }
  }

  func text(_ name: String, default fallback: String? = nil) -> String {
    guard let value = values[name] ?? fallback else { fail("--\(name) is needed", code: 64) }
    return value
  }

  func count(_ name: String, default fallback: Int) -> Int {
    guard let value = values[name] else { return fallback }
    guard let number = Int(value), number > 0 else { fail("--\(name) \(value)?", code: 64) }
    return number
  }

  func number(_ name: String, default fallback: Double) -> Double {
    guard let value = values[name] else { return fallback }
    guard let number = Double(value), number > 0 else { fail("--\(name) \(value)?", code: 64) }
    return number
  }

  /// IPv4 addresses with ports, separated by commas.
  func addresses(_ name: String) -> [Address] {
    text(name).split(separator: ",").map { Address(String($0)) }
  }
}
