// SPDX-License-Identifier: Apache-2.0
// Metrics as values: a family has a name, a kind and a help text, and its samples differ in their
// labels. What a name looks like in a format (`_total` or not) is the format's business, so a name
// stands here without any suffix that a kind brings.

/// What the numbers of a family mean.
public enum MetricKind: Hashable, Sendable {
  /// Only ever grows, from 0 at the start of the process.
  case counter
  /// Goes up and down.
  case gauge
  /// How often a measured value was at most this large, for several sizes.
  case histogram
  /// Always 1; its labels are what it says.
  case info
}

/// Measured values, counted by size.
public struct HistogramSnapshot: Hashable, Sendable {
  /// The largest value of each bucket but the last, in ascending order. The last bucket has no bound.
  public var bounds: [Double]
  /// How many values each bucket has, those of smaller buckets not included. One more than `bounds`.
  public var counts: [UInt64]
  /// The sum of all values.
  public var sum: Double

  /// Makes a snapshot. There must be one more count than there are bounds, which must ascend.
  public init(bounds: [Double], counts: [UInt64], sum: Double) {
    precondition(counts.count == bounds.count + 1)
    precondition(zip(bounds, bounds.dropFirst()).allSatisfy(<))
    self.bounds = bounds
    self.counts = counts
    self.sum = sum
  }
}

/// The value of a sample.
public enum MetricValue: Hashable, Sendable {
  /// A number of things.
  case count(UInt64)
  /// A measured or computed number.
  case real(Double)
  /// Yes is 1, no is 0.
  case flag(Bool)
  /// For families of the kind `histogram`, and for no others.
  case histogram(HistogramSnapshot)
}

/// One label of a sample.
public struct MetricLabel: Hashable, Sendable {
  /// Letters, digits and underscores, not beginning with a digit.
  public var name: String
  /// Any text.
  public var value: String

  /// Makes a label.
  public init(_ name: String, _ value: String) {
    self.name = name
    self.value = value
  }
}

/// One number, or one histogram, of a family.
public struct MetricSample: Hashable, Sendable {
  /// What tells it from the others of its family. Names must differ; two samples of a family must not
  /// have the same labels.
  public var labels: [MetricLabel]
  /// The number.
  public var value: MetricValue

  /// Makes a sample.
  public init(_ labels: [MetricLabel], _ value: MetricValue) {
    self.labels = labels
    self.value = value
  }
}

/// All samples of one name.
public struct MetricFamily: Hashable, Sendable {
  /// The name, without `_total` for a counter and without `_info` for an info.
  public var name: String
  /// What its numbers mean.
  public var kind: MetricKind
  /// What it is counted in (`seconds`, `bytes`), which its name must end with; `nil` for pure numbers.
  public var unit: String?
  /// One sentence for people.
  public var help: String
  /// The numbers.
  public var samples: [MetricSample]

  /// Makes a family. The unit is the last word of `name`, if it is one that is known.
  public init(_ name: String, _ kind: MetricKind, _ help: String, _ samples: [MetricSample]) {
    self.name = name
    self.kind = kind
    self.help = help
    self.samples = samples
    unit = ["seconds", "bytes"].first { name.hasSuffix("_" + $0) }
  }
}
