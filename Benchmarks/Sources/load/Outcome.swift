// What a client measured, as one line of JSON.

/// Operations, bytes, how long it took, and how long each operation took.
struct Outcome {
  var operations = 0
  var bytes = 0
  var seconds = 0.0
  var latencies = Latencies()

  func printLine() {
    var fields = [
      "\"operations\": \(operations)", "\"bytes\": \(bytes)", "\"seconds\": \(rounded(seconds))",
    ]
    if latencies.total > 0 {
      for (name, percentile) in [("p50", 50.0), ("p99", 99.0), ("p999", 99.9)] {
        let value = latencies.microseconds(percentile: percentile)
        fields.append("\"\(name)_us\": \(rounded(value))")
      }
    }
    print("{" + fields.joined(separator: ", ") + "}")
  }

  private func rounded(_ value: Double) -> Double { (value * 1e6).rounded() / 1e6 }
}
