// SPDX-License-Identifier: Apache-2.0
// `outlier`: an endpoint that fails sessions gets none for a while.

import Foundation
import Testing

@Suite("outlier")
struct OutlierTests {
  private func proxy(_ endpoints: [String], _ outlier: String?, _ more: String = "") throws
    -> ProxyProcess
  {
    try ProxyProcess(file(endpoints, outlier, more))
  }

  /// A file whose upstream has these endpoints, and no `outlier` where that is `nil`.
  private func file(_ endpoints: [String], _ outlier: String?, _ more: String = "") -> String {
    let list = endpoints.map { "\"\($0)\"" }.joined(separator: ", ")
    let outlier = outlier.map { ", outlier: \($0)" } ?? ""
    return """
      workers: 2
      admin: {listen: "127.0.0.1:0"}
      routes:
        r: {listen: "127.0.0.1:0", to: u}
      upstreams:
        u: {endpoints: [\(list)]\(outlier)\(more)}
      """
  }

  /// Opens sessions, each of which is served, until the log says something, and their records are there.
  private func askUntil(_ message: String, _ proxy: ProxyProcess) throws -> LogLine {
    let before = try proxy.records(0).count
    for count in 1...1000 {
      _ = try? Connection(proxy.address()).ask("x")
      let lines = logLines(proxy.program.errorText).filter { $0.message == message }
      if let line = lines.first {
        _ = try proxy.records(before + count)
        return line
      }
      _ = proxy.program.wait(within: 0.005) { nil as Int? }
    }
    throw ScenarioFailure("it is never said: \(message)\n\(proxy.program.errorText)")
  }

  @Test("An endpoint that refuses is ejected, and then costs no session an attempt")
  func refusing() throws {
    let (refusing, server) = (try RefusingPort(), try Server.named("a"))
    let proxy = try proxy(
      [refusing.address, server.address], "{failures: 3, eject_time: 1h, max_eject_time: 1h}")
    let line = try askUntil("endpoint is ejected", proxy)
    #expect(line.level == "warning")
    #expect(line["upstream"] == "u")
    #expect(line["endpoint"] == refusing.address)
    #expect(line["failures"] == "3")
    #expect(line["for"] == "1h")
    let before = try proxy.records(0).count
    for _ in 0..<6 { #expect(try Connection(proxy.address()).ask("") == "a") }
    let records = try proxy.records(before + 6)
    #expect(records.suffix(6).allSatisfy { $0["attempts"] == "1" && $0["end"] == "finished" })
    // No client has noticed.
    #expect(records.allSatisfy { $0["end"] == "finished" })
  }

  @Test("Without `outlier`, failures to connect eject an endpoint, too")
  func byDefault() throws {
    let (refusing, server) = (try RefusingPort(), try Server.named("a"))
    let proxy = try proxy([refusing.address, server.address], nil)
    let line = try askUntil("endpoint is ejected", proxy)
    #expect(line["endpoint"] == refusing.address)
    #expect(line["failures"] == "3")
    #expect(line["for"] == "10s")
    let labels = "{upstream=\"u\",endpoint=\"\(refusing.address)\"}"
    #expect(
      try adminPage("/metrics", of: proxy).contains("sluice_endpoint_ejections_total\(labels) 1\n"))
  }

  @Test("Without `outlier`, one that breaks before a byte has come back is not ejected")
  func breakingByDefault() throws {
    let broken = try Server { connection in
      _ = try connection.receive(1)
      connection.reset()
    }
    let server = try Server.named("a")
    let proxy = try proxy([broken.address, server.address], nil)
    for _ in 0..<20 { _ = try? Connection(proxy.address()).ask("x") }
    let records = try proxy.records(20)
    #expect(records.count { $0["endpoint"] == broken.address } == 10)
    #expect(!proxy.program.errorText.contains("ejected"))
  }

  @Test("With `outlier: off`, or with a single endpoint, nothing is ejected and nothing counted")
  func nothing() throws {
    let (refusing, server) = (try RefusingPort(), try Server.named("a"))
    for proxy in [
      try proxy([refusing.address, server.address], "off"), try proxy([refusing.address], nil),
    ] {
      for _ in 0..<12 { _ = try? Connection(proxy.address()).ask("x") }
      #expect(
        try proxy.records(12).contains { $0["attempts"] == "2" || $0["end"] == "connect_refused" })
      #expect(try !adminPage("/metrics", of: proxy).contains("sluice_endpoint_ejected{"))
      #expect(!proxy.program.errorText.contains("ejected"))
    }
  }

  @Test("It comes back when its time is over, and serves again")
  func returning() throws {
    var refusing: RefusingPort? = try RefusingPort()
    let (server, address) = (try Server.named("a"), refusing?.address ?? "")
    let proxy = try proxy([address, server.address], "{failures: 1, eject_time: 100ms}")
    _ = try askUntil("endpoint is ejected", proxy)
    refusing = nil
    let back = try Server.named("b", at: address)
    let line = try askUntil("endpoint is ejected no more", proxy)
    #expect(line["cause"] == "its time is over")
    #expect(line["endpoint"] == address)
    var names: Set<String> = []
    for _ in 0..<1000 where names != ["a", "b"] {
      names.insert(try Connection(proxy.address()).ask(""))
    }
    #expect(names == ["a", "b"])
    withExtendedLifetime(back) {}
  }

  @Test("One that breaks before a byte has come back is ejected, too")
  func breaking() throws {
    let broken = try Server { connection in
      _ = try connection.receive(1)
      connection.reset()
    }
    let server = try Server.named("a")
    let proxy = try proxy(
      [broken.address, server.address], "{failures: 2, eject_time: 1h, max_eject_time: 1h}")
    let line = try askUntil("endpoint is ejected", proxy)
    #expect(line["endpoint"] == broken.address)
    for _ in 0..<4 { #expect(try Connection(proxy.address()).ask("x") == "a") }
  }

  @Test("The last healthy endpoint is never ejected")
  func last() throws {
    let (one, other) = (try RefusingPort(), try RefusingPort())
    let proxy = try proxy(
      [one.address, other.address],
      "{failures: 1, eject_time: 1h, max_eject_time: 1h, max_ejected: 100%}")
    let line = try askUntil("endpoint keeps failing and is not ejected", proxy)
    #expect(line["cause"] == "it is needed")
    #expect(
      logLines(proxy.program.errorText).filter { $0.message == "endpoint is ejected" }.count == 1)
  }

  @Test("Without the policy any more, it is back at once")
  func removed() throws {
    let (refusing, server) = (try RefusingPort(), try Server.named("a"))
    let endpoints = [refusing.address, server.address]
    let proxy = try proxy(endpoints, "{failures: 1, eject_time: 1h, max_eject_time: 1h}")
    _ = try askUntil("endpoint is ejected", proxy)
    #expect(try proxy.reload(file(endpoints, "off")).message == "reloaded")
    #expect(
      proxy.event("endpoint is ejected no more")?["cause"]
        == "the configuration leaves out none")
  }

  @Test("Metrics say who is ejected, and how often")
  func metrics() throws {
    let (refusing, server) = (try RefusingPort(), try Server.named("a"))
    let proxy = try proxy(
      [refusing.address, server.address], "{failures: 1, eject_time: 1h, max_eject_time: 1h}")
    _ = try askUntil("endpoint is ejected", proxy)
    let text = try adminPage("/metrics", of: proxy)
    let labels = "{upstream=\"u\",endpoint=\"\(refusing.address)\"}"
    #expect(text.contains("sluice_endpoint_ejected\(labels) 1\n"))
    #expect(text.contains("sluice_endpoint_ejections_total\(labels) 1\n"))
    #expect(text.contains("sluice_endpoint_up\(labels) 0\n"))
    #expect(text.contains("sluice_upstream_endpoints{upstream=\"u\"} 2\n"))
    #expect(text.contains("sluice_upstream_healthy_endpoints{upstream=\"u\"} 1\n"))
    #expect(text.contains("sluice_upstream_serving{upstream=\"u\"} 1\n"))
  }
}

/// What the admin interface of a proxy answers.
func adminPage(_ path: String, of proxy: ProxyProcess) throws -> String {
  let address = try #require(proxy.event("admin interface")?["at"])
  let connection = try Connection(address)
  try connection.send("GET \(path) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
  return try connection.rest()
}
