// SPDX-License-Identifier: Apache-2.0
import Addressing
import Plan
import Testing

@testable import Configuration

private func file(_ admin: String) -> String {
  "routes: {r: {listen: [\":80\", \"unix:/run/r.sock\"], to: \"h:1\"}}\nadmin: \(admin)\n"
}

@Suite struct AdminCodecTests {
  @Test func withoutTheKeyThereIsNone() throws {
    let plan = try #require(decode("routes: {r: {listen: \":80\", to: \"h:1\"}}").plan)
    #expect(plan.admin == nil)
  }

  @Test(arguments: [
    "127.0.0.1:9901", "127.8.9.10:1", "[::1]:9901", "unix:/run/sluice/admin.sock", "unix:@admin",
    "127.0.0.1:0", "[::ffff:127.0.0.1]:9901",
  ])
  func thisMachineAloneMayReachIt(_ listen: String) throws {
    let decoded = decode(file("{listen: \"\(listen)\"}"))
    #expect(decoded.report == "")
    let admin = try #require(decoded.plan?.admin)
    let expected = listen == "[::ffff:127.0.0.1]:9901" ? "127.0.0.1:9901" : listen
    #expect(admin.listen.description == expected)
    #expect(admin == AdminPlan(listen: admin.listen))
    #expect(admin.connectionsMax == 64)
    #expect(admin.timeout == .seconds(10))
  }

  @Test(arguments: [
    ":9901", "0.0.0.0:9901", "10.0.0.1:9901", "[::]:9901", "[2001:db8::1]:9901",
    "[::ffff:10.0.0.1]:9901", "128.0.0.1:9901",
  ])
  func othersMayReachItOnlyThroughARoute(_ listen: String) {
    let text = report(file("{listen: \"\(listen)\"}"))
    #expect(text.contains("can be reached from other machines"), "\(text)")
    #expect(text.contains("add a route with `to: \"127.0.0.1:9901\"`"), "\(text)")
  }

  @Test(arguments: [
    ("{}", "the key `listen` is missing"), ("{listen: \"localhost:5\"}", "write `127.0.0.1:5`"),
    ("{listen: \"fd:3\"}", "is a descriptor"), ("{listen: \"127.0.0.1\"}", "has no port"),
    ("{listen: \"127.0.0.1:70000\"}", "is not from 0 to 65535"),
    ("{listen: [\"127.0.0.1:1\"]}", "expected a single value, found a list"),
    ("{port: 5}", "did you mean `listen: \"127.0.0.1:PORT\"`?"),
    ("\"127.0.0.1:5\"", "expected a mapping"),
    ("{listen: \"127.0.0.1:5\", max_connections: 0}", "is too small"),
    ("{listen: \"127.0.0.1:5\", max_connections: 4097}", "is too large"),
    ("{listen: \"127.0.0.1:5\", timeout: 50ms}", "is too short"),
    ("{listen: \"127.0.0.1:5\", timeout: off}", "is no duration"),
    ("{listen: \"127.0.0.1:80\"}", "`127.0.0.1:80` collides with `:80` of the route `r`"),
    ("{listen: \"unix:/run//r.sock\"}", "of the route `r`"),
  ])
  func slips(_ admin: String, _ expected: String) {
    let text = report(file(admin))
    #expect(text.contains(expected), "\(text)")
    #expect(text.hasPrefix("config.yaml:2:"), "\(text)")
  }

  @Test func everyKeyReachesThePlan() throws {
    let decoded = decode(
      file("{listen: \"127.0.0.1:5\", max_connections: 3, timeout: 1500ms}"))
    #expect(
      decoded.plan?.admin
        == AdminPlan(
          listen: .v4(.loopback, port: 5), connectionsMax: 3, timeout: .milliseconds(1500)))
  }
}
