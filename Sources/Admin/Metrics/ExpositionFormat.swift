// SPDX-License-Identifier: Apache-2.0
// Which of the two text formats a scraper gets: RFC 9110, section 12.5.1, for the two things that can
// be had here. OpenMetrics goes only to who asks for it by name; a browser or curl gets the classic text.

import HTTPTypes

/// A format of metrics as text.
public enum ExpositionFormat: Hashable, Sendable, CaseIterable {
  /// Prometheus' text format, version 0.0.4.
  case classic
  /// OpenMetrics 1.0.
  case openMetrics

  /// The value of Content-Type.
  public var contentType: String {
    switch self {
    case .classic: "text/plain; version=0.0.4; charset=utf-8"
    case .openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8"
    }
  }

  /// The format for a request with these values of Accept. What cannot be understood is passed over;
  /// a request that wants neither gets the classic text, as is usual among exporters.
  public init(accept values: [String]) {
    let ranges = values.flatMap { value in value.split(separator: ",").compactMap(MediaRange.init) }
    let classic = MediaRange.quality(of: .classic, in: ranges)
    let named = ranges.filter { $0.type == "application/openmetrics-text" }
    let openMetrics = MediaRange.quality(of: .openMetrics, in: named)
    self = openMetrics > 0 && openMetrics >= classic ? .openMetrics : .classic
  }

  fileprivate var mediaType: String {
    switch self {
    case .classic: "text/plain"
    case .openMetrics: "application/openmetrics-text"
    }
  }

  fileprivate var version: String {
    switch self {
    case .classic: "0.0.4"
    case .openMetrics: "1.0.0"
    }
  }
}

/// One member of an Accept field.
private struct MediaRange {
  /// In small letters, like `text/*`.
  let type: String
  let version: String?
  /// In thousandths.
  let quality: Int

  init?(_ text: Substring) {
    let parts = text.split(separator: ";").map(MediaRange.trimmed)
    guard let type = parts.first, type.contains("/") else { return nil }
    var version: String?
    var quality = 1000
    for part in parts.dropFirst() {
      let pair = part.split(separator: "=", maxSplits: 1).map(MediaRange.trimmed)
      guard pair.count == 2 else { return nil }
      switch pair[0].lowercased() {
      case "version": version = String(pair[1].filter { $0 != "\"" })
      case "q":
        guard let thousandths = MediaRange.thousandths(pair[1]) else { return nil }
        quality = thousandths
      default: break  // charset, escaping: what is written here fits any of them
      }
    }
    self.type = type.lowercased()
    self.version = version
    self.quality = quality
  }

  /// The quality that the most specific of the ranges gives a format; 0 if none does.
  static func quality(of format: ExpositionFormat, in ranges: [MediaRange]) -> Int {
    let fitting = ranges.compactMap { range in
      range.specificity(for: format).map { (specificity: $0, quality: range.quality) }
    }
    return fitting.max { ($0.specificity, $0.quality) < ($1.specificity, $1.quality) }?.quality ?? 0
  }

  /// How closely the range fits a format; `nil` if it does not.
  private func specificity(for format: ExpositionFormat) -> Int? {
    if type == format.mediaType {
      guard let version else { return 2 }
      return version == format.version ? 3 : nil
    }
    if type == "*/*" { return 0 }
    let family = format.mediaType.prefix { $0 != "/" }
    return type == family + "/*" ? 1 : nil
  }

  /// `0`, `0.5`, `1.000`: at most three digits behind the point, at most 1.
  private static func thousandths(_ text: Substring) -> Int? {
    let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
    let behind = parts.count == 2 ? parts[1] : ""
    guard parts[0] == "0" || parts[0] == "1", behind.count <= 3,
      behind.utf8.allSatisfy((UInt8(ascii: "0")...UInt8(ascii: "9")).contains),
      let fraction = Int("0" + behind + String(repeating: "0", count: 3 - behind.count))
    else { return nil }
    let value = (parts[0] == "1" ? 1000 : 0) + fraction
    return value <= 1000 ? value : nil
  }

  private static func trimmed(_ text: Substring) -> Substring {
    var rest = text.drop { $0 == " " || $0 == "\t" }
    while let last = rest.last, last == " " || last == "\t" { rest.removeLast() }
    return rest
  }
}
