// SPDX-License-Identifier: Apache-2.0
// Families to text, in either format. Where they differ:
//
//                          classic 0.0.4                OpenMetrics 1.0
//     a counter's family   sluice_x_total               sluice_x (its samples: sluice_x_total)
//     an info's family     sluice_build_info, a gauge   sluice_build, an info
//     units                –                            # UNIT
//     quotes in help       as they are                  escaped
//     the end              –                            # EOF
//
// The bounds of buckets are written alike (`1.0`), so that a scraper that changes the format goes on
// with the same series.

extension ExpositionFormat {
  /// The text of families. Names are taken to be sound; label values and help texts may hold anything.
  public func text(of families: [MetricFamily]) -> [UInt8] {
    var writer = ExpositionWriter(self)
    for family in families { writer.write(family) }
    return writer.finish()
  }
}

/// Families to text, one after another, for who cannot spend the time of all of them at once.
struct ExpositionWriter {
  private let format: ExpositionFormat
  private var bytes: [UInt8] = []

  init(_ format: ExpositionFormat) {
    self.format = format
  }

  /// The whole text.
  consuming func finish() -> [UInt8] {
    if format == .openMetrics { bytes += "# EOF\n".utf8 }
    return bytes
  }

  mutating func write(_ family: MetricFamily) {
    // A family without samples is not mentioned: there is nothing of the kind in this configuration.
    guard !family.samples.isEmpty else { return }
    let sampleName = family.name + family.kind.suffix
    let familyName = format == .openMetrics ? family.name : sampleName
    put("# HELP ")
    put(familyName)
    put(" ")
    putEscaped(family.help, quotes: format == .openMetrics)
    put("\n# TYPE ")
    put(familyName)
    put(" ")
    put(family.kind.word(in: format))
    put("\n")
    if format == .openMetrics, let unit = family.unit {
      put("# UNIT ")
      put(familyName)
      put(" ")
      put(unit)
      put("\n")
    }
    for sample in family.samples {
      switch sample.value {
      case .count(let count): write(sampleName, sample.labels, "\(count)")
      case .flag(let flag): write(sampleName, sample.labels, flag ? "1" : "0")
      case .real(let number): write(sampleName, sample.labels, number.expositionText)
      case .histogram(let histogram): write(histogram, sampleName, sample.labels)
      }
    }
  }

  private mutating func write(_ name: String, _ labels: [MetricLabel], _ value: String) {
    put(name)
    write(labels, bound: nil)
    put(" ")
    put(value)
    put("\n")
  }

  private mutating func write(
    _ histogram: HistogramSnapshot, _ name: String, _ labels: [MetricLabel]
  ) {
    var count: UInt64 = 0
    for (bound, inBucket) in zip(histogram.bounds + [.infinity], histogram.counts) {
      count += inBucket
      put(name)
      put("_bucket")
      write(labels, bound: bound.expositionText)
      put(" ")
      put("\(count)")
      put("\n")
    }
    write(name + "_sum", labels, histogram.sum.expositionText)
    write(name + "_count", labels, "\(count)")
  }

  private mutating func write(_ labels: [MetricLabel], bound: String?) {
    guard !labels.isEmpty || bound != nil else { return }
    var separator = "{"
    for label in labels {
      put(separator)
      put(label.name)
      put("=\"")
      putEscaped(label.value, quotes: true)
      put("\"")
      separator = ","
    }
    if let bound {
      put(separator)
      put("le=\"")
      put(bound)
      put("\"")
    }
    put("}")
  }

  private mutating func put(_ text: String) {
    bytes += text.utf8
  }

  private mutating func putEscaped(_ text: String, quotes: Bool) {
    // As good as always there is nothing to escape.
    guard text.utf8.contains(where: \.mayNeedEscape) else {
      bytes += text.utf8
      return
    }
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\\"): bytes += "\\\\".utf8
      case UInt8(ascii: "\n"): bytes += "\\n".utf8
      case UInt8(ascii: "\"") where quotes: bytes += "\\\"".utf8
      default: bytes.append(byte)
      }
    }
  }
}

extension UInt8 {
  fileprivate var mayNeedEscape: Bool {
    self == UInt8(ascii: "\\") || self == UInt8(ascii: "\n") || self == UInt8(ascii: "\"")
  }
}

extension MetricKind {
  fileprivate var suffix: String {
    switch self {
    case .counter: "_total"
    case .info: "_info"
    case .gauge, .histogram: ""
    }
  }

  fileprivate func word(in format: ExpositionFormat) -> String {
    switch self {
    case .counter: "counter"
    case .gauge: "gauge"
    case .histogram: "histogram"
    case .info: format == .openMetrics ? "info" : "gauge"
    }
  }
}

extension Double {
  fileprivate var expositionText: String {
    if isNaN { return "NaN" }
    if isInfinite { return self < 0 ? "-Inf" : "+Inf" }
    return description
  }
}
