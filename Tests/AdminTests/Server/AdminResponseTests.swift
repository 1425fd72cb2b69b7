// SPDX-License-Identifier: Apache-2.0
// The answers of the admin interface, to the byte.

import HTTPTypes
import Testing

@testable import Admin

@Suite struct AdminResponseTests {
  private func text(
    _ response: AdminResponse, _ method: HTTPRequest.Method = .get, closing: Bool = false
  ) -> String {
    let bytes = response.serialized(answering: method, closing: closing, date: "now")
    return String(decoding: bytes, as: UTF8.self)
  }

  @Test func anAnswerIsWhole() {
    let head =
      "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Type: text/plain; charset=utf-8\r\n"
      + "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nContent-Length: 3\r\n\r\n"
    #expect(text(.live) == head + "ok\n")
    #expect(text(.live, .head) == head)
    #expect(text(.live, closing: true).contains("\r\nConnection: close\r\n"))
  }

  @Test func readinessSaysWhy() {
    #expect(text(.readiness(Readiness())).hasSuffix("\r\n\r\nok\n"))
    let noted = text(.readiness(Readiness(notes: ["upstream db: its endpoint is down"])))
    #expect(noted.hasPrefix("HTTP/1.1 200 OK\r\n"))
    #expect(noted.hasSuffix("\r\n\r\nok\nnote: upstream db: its endpoint is down\n"))
    let not = text(.readiness(Readiness(reasons: ["draining", "a\nb\r\nc"], notes: ["x"])))
    #expect(not.hasPrefix("HTTP/1.1 503 Service Unavailable\r\n"))
    #expect(not.hasSuffix("\r\n\r\ndraining\na b c\nnote: x\n"))
  }

  @Test func refusalsSayWhatToDo() {
    #expect(text(.notFound).hasSuffix("there are /livez, /readyz, /metrics\n"))
    #expect(text(.methodNotAllowed).contains("\r\nAllow: GET, HEAD\r\n"))
    #expect(text(.malformed(.versionNotSupported)).hasPrefix("HTTP/1.1 505 "))
    #expect(AdminResponse.malformed(.bareLineFeed).closes)
    #expect(!AdminResponse.notFound.closes)
  }

  @Test func metricsHaveTheTypeOfTheirFormat() {
    let families = [MetricFamily("x", .gauge, "X.", [MetricSample([], .count(1))])]
    let classic = text(.metrics(ExpositionFormat.classic.text(of: families), .classic))
    #expect(classic.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"))
    #expect(classic.hasSuffix("\nx 1\n"))
    let open = text(.metrics(ExpositionFormat.openMetrics.text(of: families), .openMetrics))
    #expect(open.contains("application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"))
    #expect(open.hasSuffix("\nx 1\n# EOF\n"))
  }

  @Test(arguments: [
    (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
    (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
  ])
  func datesAreThoseOfHTTP(_ seconds: Int, _ text: String) {
    #expect(httpDate(seconds) == text)
  }
}
