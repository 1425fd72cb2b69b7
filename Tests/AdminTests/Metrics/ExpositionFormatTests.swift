// SPDX-License-Identifier: Apache-2.0
// Which format a scraper gets, among others with what Prometheus really sends.

import Testing

@testable import Admin

@Suite struct ExpositionFormatTests {
  @Test(arguments: [
    // Prometheus 2.42
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
      + "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    // Prometheus 3
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
      + "application/openmetrics-text;version=0.0.1;q=0.5,"
      + "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,"
      + "*/*;q=0.2",
    "application/openmetrics-text",
    "Application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8",
    "text/plain;q=0.5, application/openmetrics-text;q=0.5", "application/openmetrics-text;q=0.001",
    "text/plain;q=0, application/openmetrics-text;q=0.1",
    "*/*;q=0.9, text/plain;q=0.1, application/openmetrics-text;q=0.2",
  ])
  func openMetricsIsForWhoPrefersIt(_ accept: String) {
    #expect(ExpositionFormat(accept: [accept]) == .openMetrics)
  }

  @Test(arguments: [
    "", "*/*", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/plain",
    "application/*", "application/json", "application/openmetrics-text;q=0",
    "application/openmetrics-text;version=0.0.1", "application/openmetrics-text;version=2.0.0, */*",
    "application/openmetrics-text;q=0.4, text/plain;q=0.5",
    "application/openmetrics-text;q=0.4, text/*;q=0.5", "application/openmetrics-text;q=0.4, */*",
    "application/openmetrics-text;q=1.5", "application/openmetrics-text;q=0.1234",
    "application/openmetrics-text;q=", "application/openmetrics-text;q=x", ";;;,,,=", "text", "q=1",
  ])
  func allOthersGetTheClassicText(_ accept: String) {
    #expect(ExpositionFormat(accept: [accept]) == .classic)
  }

  @Test func severalFieldsAreOneList() {
    #expect(
      ExpositionFormat(accept: ["text/plain;q=0.1", "application/openmetrics-text;q=0.2"])
        == .openMetrics)
    #expect(ExpositionFormat(accept: []) == .classic)
  }
}
