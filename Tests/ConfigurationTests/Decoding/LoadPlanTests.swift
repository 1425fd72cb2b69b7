// SPDX-License-Identifier: Apache-2.0
import Addressing
import Glibc
import Plan
import Testing

@testable import Configuration

@Suite struct LoadPlanTests {
  @Test func theShippedFileRuns() throws {
    let decoded = loadPlan(path: repositoryPath("config.yaml")) { _ in nil }
    #expect(decoded.report == "")
    let plan = try #require(decoded.plan)
    #expect(plan.routes.map(\.name) == ["echo"])
    #expect(plan.admin == AdminPlan(listen: .v4(.loopback, port: 9901)))
    #expect(plan.routes[0].listen == [.port(7000)])
    #expect(
      plan.upstreams[0].endpoints
        == Array(repeating: EndpointPlan(address: .builtin(.echo)), count: 2))
  }

  @Test func theShippedExamplesDecode() throws {
    var inExample = false
    let lines = repositoryFile("config.yaml").split(
      separator: "\n", omittingEmptySubsequences: false)
    var count = 0
    let text = lines.map { line in
      if line.hasPrefix("#example") || line.hasPrefix("#end") {
        inExample = line.hasPrefix("#example")
        count += inExample ? 1 : 0
        return ""
      }
      return inExample ? String(line.dropFirst()) : String(line)
    }.joined(separator: "\n")
    let decoded = decode(text)
    #expect(decoded.report == "")
    #expect(decoded.plan?.routes.count == count)
  }

  @Test func theDefaultsInTheCommentsAreTheDefaults() throws {
    let text = repositoryFile("config.yaml")
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    let start = try #require(lines.firstIndex { $0.hasPrefix("# workers:") })
    let end = try #require(lines.firstIndex { $0 == "routes:" })
    let uncommented =
      lines[start..<end].map { $0.hasPrefix("# ") ? String($0.dropFirst(2)) : String($0) }
      + lines[end...].map(String.init)
    let shown = try #require(decode(uncommented.joined(separator: "\n")).plan)
    var expected = try #require(decode(text).plan)
    expected.routes[0].sessionsMax = 10000
    expected.routes[0].hashKey = "shop"
    expected.upstreams[0].source = shown.upstreams[0].source
    expected.upstreams[0].outlier = nil
    expected.upstreams[0].retry.attemptsMax = 3
    expected.upstreams[0].sessionsMax = 10000
    #expect(shown == expected)
  }

  @Test func whatCannotBeReadIsToldWithTheReason() {
    #expect(
      loadPlan(path: "/nonexistent/sluice.yaml").report.hasPrefix(
        "/nonexistent/sluice.yaml: error: cannot read the configuration: No such file"))
    #expect(loadPlan(path: "/").report.contains("Is a directory"))
  }

  @Test func aHugeFileIsRefusedUnread() {
    let path = "/tmp/sluice-huge-\(getpid()).yaml"
    let descriptor = open(path, O_CREAT | O_RDWR, 0o600)
    defer { unlink(path) }
    #expect(ftruncate(descriptor, 100_000_000) == 0)
    close(descriptor)
    let decoded = loadPlan(path: path)
    #expect(decoded.plan == nil)
    #expect(
      decoded.diagnostics.map(\.message) == [
        "the file has 100000000 bytes, a configuration may have at most 4194304 bytes"
      ])
    #expect(loadPlan(path: "/dev/zero").report.contains("the file is too large"))
  }

  @Test func everythingIsToldInOneRunInTheOrderOfTheFile() {
    let found = decode(
      """
      workers: 0
      routes:
        a: {listen: ":80", to: nowhere}
        b: {listen: "0.0.0.0:80", to: "h:1", idle: 5}
        c: {to: "h"}
      """)
    #expect(found.plan == nil)
    #expect(found.diagnostics.map(\.line) == [1, 3, 4, 4, 5, 5])
    #expect(found.diagnostics.allSatisfy { $0.severity == .error })
  }
}
