// SPDX-License-Identifier: Apache-2.0
// The exact text of families, in both formats.

import Testing

@testable import Admin

@Suite struct ExpositionTests {
  private func text(_ format: ExpositionFormat, _ families: MetricFamily...) -> String {
    String(decoding: format.text(of: families), as: UTF8.self)
  }

  @Test func aCounterIsNamedAsEachFormatWantsIt() {
    let family = MetricFamily(
      "sluice_relayed_bytes", .counter, "Bytes.",
      [
        MetricSample([MetricLabel("route", "db"), MetricLabel("direction", "upload")], .count(7)),
        MetricSample([], .count(.max)),
      ])
    #expect(
      text(.classic, family) == """
        # HELP sluice_relayed_bytes_total Bytes.
        # TYPE sluice_relayed_bytes_total counter
        sluice_relayed_bytes_total{route="db",direction="upload"} 7
        sluice_relayed_bytes_total 18446744073709551615

        """)
    #expect(
      text(.openMetrics, family) == """
        # HELP sluice_relayed_bytes Bytes.
        # TYPE sluice_relayed_bytes counter
        # UNIT sluice_relayed_bytes bytes
        sluice_relayed_bytes_total{route="db",direction="upload"} 7
        sluice_relayed_bytes_total 18446744073709551615
        # EOF

        """)
  }

  @Test func anInfoIsAGaugeInTheClassicText() {
    let family = MetricFamily(
      "sluice_build", .info, "The version.",
      [MetricSample([MetricLabel("version", "1.2")], .count(1))])
    #expect(
      text(.classic, family) == """
        # HELP sluice_build_info The version.
        # TYPE sluice_build_info gauge
        sluice_build_info{version="1.2"} 1

        """)
    #expect(
      text(.openMetrics, family) == """
        # HELP sluice_build The version.
        # TYPE sluice_build info
        sluice_build_info{version="1.2"} 1
        # EOF

        """)
  }

  @Test func bucketsAreCumulativeAndEndWithInfinity() {
    let histogram = HistogramSnapshot(bounds: [0.001, 1, 10], counts: [2, 0, 3, 4], sum: 123.5)
    let family = MetricFamily(
      "x_seconds", .histogram, "Times.",
      [MetricSample([MetricLabel("route", "a")], .histogram(histogram))])
    let samples = """
      x_seconds_bucket{route="a",le="0.001"} 2
      x_seconds_bucket{route="a",le="1.0"} 2
      x_seconds_bucket{route="a",le="10.0"} 5
      x_seconds_bucket{route="a",le="+Inf"} 9
      x_seconds_sum{route="a"} 123.5
      x_seconds_count{route="a"} 9

      """
    let head = "# HELP x_seconds Times.\n# TYPE x_seconds histogram\n"
    #expect(text(.classic, family) == head + samples)
    #expect(
      text(.openMetrics, family) == head + "# UNIT x_seconds seconds\n" + samples + "# EOF\n")
    let bare = MetricFamily("x", .histogram, "", [MetricSample([], .histogram(histogram))])
    #expect(text(.classic, bare).contains("\nx_bucket{le=\"0.001\"} 2\n"))
    #expect(text(.classic, bare).contains("\nx_sum 123.5\n"))
  }

  @Test func labelsAndHelpMayHoldAnything() {
    let family = MetricFamily(
      "x", .gauge, "a \"b\" \\ c\nd", [MetricSample([MetricLabel("l", "ü\"\\\n,}=")], .count(1))])
    let sample = #"x{l="ü\"\\\n,}="} 1"# + "\n"
    #expect(
      text(.classic, family) == #"# HELP x a "b" \\ c\nd"# + "\n# TYPE x gauge\n" + sample)
    #expect(
      text(.openMetrics, family)
        == #"# HELP x a \"b\" \\ c\nd"# + "\n# TYPE x gauge\n" + sample + "# EOF\n")
  }

  @Test func numbersAreWrittenAsScrapersReadThem() {
    let values: [(MetricValue, String)] = [
      (.flag(true), "1"), (.flag(false), "0"), (.real(0), "0.0"), (.real(0.25), "0.25"),
      (.real(.infinity), "+Inf"), (.real(-.infinity), "-Inf"), (.real(.nan), "NaN"),
      (.real(1.5e-7), "1.5e-07"), (.real(1_763_874_000.5), "1763874000.5"),
    ]
    for (value, word) in values {
      let text = text(.classic, MetricFamily("x", .gauge, "", [MetricSample([], value)]))
      #expect(text.hasSuffix("\nx \(word)\n"))
    }
  }

  @Test func aFamilyWithoutSamplesIsNotMentioned() {
    #expect(text(.classic, MetricFamily("x", .gauge, "", [])) == "")
    #expect(text(.openMetrics, MetricFamily("x", .gauge, "", [])) == "# EOF\n")
  }
}
