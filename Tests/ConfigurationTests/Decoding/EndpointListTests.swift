// SPDX-License-Identifier: Apache-2.0
// Files that list endpoints: read with the configuration, and read again by themselves.

import Glibc
import Plan
import Testing

@testable import Configuration

@Suite final class EndpointListTests {
  private let path: String

  init() {
    var template = Array("/tmp/sluice-list-XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    precondition(descriptor != -1)
    close(descriptor)
    path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  deinit {
    unlink(path)
  }

  private func file(_ upstream: String) -> String {
    "routes: {r: {listen: \":1\", to: u}}\nupstreams:\n  u: {endpoints_file: \(path)\(upstream)}\n"
  }

  private func addresses(_ endpoints: [EndpointPlan]?) -> [String]? {
    endpoints?.map(\.address.description)
  }

  @Test func yamlAndJSONLists() {
    writeFile(path, "# found\n- \"10.0.0.1:1\"\n- {address: \"db.test:2\", weight: 3}\n")
    let found = decode(file(""))
    #expect(found.report == "")
    #expect(addresses(found.plan?.upstreams[0].endpoints) == ["10.0.0.1:1", "db.test:2"])
    #expect(found.plan?.upstreams[0].endpointsFile == EndpointsFilePlan(path: path, ownCount: 0))
    writeFile(path, "[\n\t\"10.0.0.1:1\",\n\t{\"address\": \"unix:/a\", \"priority\": 1}\n]\n")
    #expect(
      addresses(decode(file("")).plan?.upstreams[0].endpoints) == ["10.0.0.1:1", "unix:/a"])
  }

  @Test func theyAreAddedToTheEndpointsOfTheConfiguration() throws {
    writeFile(path, "[\"10.0.0.2:1\"]")
    let found = decode(file(", endpoints: [\"10.0.0.1:1\"]"))
    var upstream = try #require(found.plan?.upstreams[0], "\(found.report)")
    #expect(addresses(upstream.endpoints) == ["10.0.0.1:1", "10.0.0.2:1"])
    #expect(addresses(Array(upstream.listedEndpoints)) == ["10.0.0.2:1"])
    upstream.replaceListed(with: [EndpointPlan(address: .name(host: "x", port: 1))])
    #expect(addresses(upstream.endpoints) == ["10.0.0.1:1", "x:1"])
  }

  @Test func faultsAreToldWithTheirPlaceInTheirFile() {
    writeFile(path, "- \"10.0.0.1:1\"\n- \"10.0.0.2\"\n- {adress: \"a:1\"}\n")
    let found = decode(file(""))
    #expect(found.plan == nil)
    #expect(
      found.report.contains("\(path):2:3: error: `10.0.0.2` has no port"), "\(found.report)")
    #expect(found.report.contains("did you mean `address`?"), "\(found.report)")
  }

  @Test(arguments: [
    ("", "the file holds no endpoints"), ("[]", "at least one item is needed here"),
    ("# nothing\n", "the file holds no endpoints"),
    ("{endpoints: [\"10.0.0.1:1\"]}", "expected a list, found a mapping"),
    ("10.0.0.1:1", "expected a list"), ("- \"10.0.0.1:1", "is never closed"),
    ("- \"10.0.0.1:1\"\n---\n- \"10.0.0.2:1\"\n", "a second YAML document"),
  ])
  func emptyAndBroken(_ text: String, _ expected: String) {
    writeFile(path, text)
    let found = decode(file(", endpoints: [\"10.0.0.9:1\"]"))
    #expect(found.plan == nil)
    #expect(found.report.contains(expected), "\(found.report)")
  }

  @Test func aFileThatCannotBeReadIsAnErrorWhereItIsNamed() {
    unlink(path)
    let found = decode(file(""))
    #expect(found.plan == nil)
    #expect(
      found.report.contains("config.yaml:3:23: error: cannot read \(path): No such file"),
      "\(found.report)")
    let pipe = decode(
      "routes: {r: {listen: \":1\", to: u}}\nupstreams: {u: {endpoints_file: /dev/null}}\n")
    #expect(pipe.report.contains("it is no regular file"), "\(pipe.report)")
    let relative = report("upstreams: {u: {endpoints_file: db.yaml}}\n")
    #expect(relative.contains("write it from the root"), "\(relative)")
  }

  @Test func oneOfBothIsNeeded() {
    let text = report("routes: {r: {listen: \":1\", to: u}}\nupstreams: {u: {connect: 1s}}\n")
    #expect(text.contains("one of the keys `endpoints`, `endpoints_file` is missing"), "\(text)")
    #expect(
      report("upstreams: {u: {file: /a}}\n").contains("did you mean `endpoints_file`?"))
  }

  @Test func whatTheCheckCannotAskIsRefused() {
    writeFile(path, "- \"10.0.0.1:1\"\n- \"unix:/run/a.sock\"\n")
    let found = decode(file(", check: {tcp: {}, port: 80}"))
    #expect(found.plan == nil)
    #expect(
      found.report.contains("\(path):2:3: error: unix:/run/a.sock has no port"), "\(found.report)")
  }

  @Test func readAgainByItself() throws {
    writeFile(path, "- \"10.0.0.1:1\"\n")
    var upstream = UpstreamPlan(name: "u", endpoints: [])
    #expect(addresses(loadEndpoints(path: path, for: upstream).endpoints) == ["10.0.0.1:1"])
    upstream.check = HealthCheckPlan(.tcp, target: .port(80))
    writeFile(path, "- \"builtin:echo\"\n- \"a:1\"\n- \"a:1\"\n")
    let found = loadEndpoints(path: path, for: upstream)
    #expect(found.endpoints == nil)
    #expect(found.diagnostics.map(\.severity) == [.error, .warning])
    #expect(found.diagnostics.first?.summary.hasPrefix("\(path):1:3: error: ") == true)
    unlink(path)
    let missing = loadEndpoints(path: path, for: upstream)
    #expect(missing.endpoints == nil)
    #expect(missing.diagnostics.first?.summary.contains("cannot read \(path)") == true)
  }

  @Test func whatStandsInBothPlacesIsWarnedOf() throws {
    writeFile(path, "- \"10.0.0.1:1\"\n- \"10.0.0.2:1\"\n")
    let found = decode(file(", endpoints: [\"10.0.0.2:1\"]"))
    let upstream = try #require(found.plan?.upstreams[0], "\(found.report)")
    let words =
      "\(path):2:3: warning: `10.0.0.2:1` is already among the `endpoints` of the upstream `u`"
    #expect(found.report.contains(words), "\(found.report)")
    let again = loadEndpoints(path: path, for: upstream)
    #expect(again.endpoints?.count == 2)
    #expect(again.diagnostics.map(\.severity) == [.warning])
  }

  @Test func theEnvironmentIsExpandedThereToo() {
    writeFile(path, "- \"${HOST}:1\"\n")
    let found = decode(file(""), ["HOST": "10.0.0.7"])
    #expect(addresses(found.plan?.upstreams[0].endpoints) == ["10.0.0.7:1"])
  }
}
