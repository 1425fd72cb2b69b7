// SPDX-License-Identifier: Apache-2.0
import Addressing
import Plan
import Testing

@testable import Control

@Suite struct CheckRequestTests {
  private let v4 = SocketAddress.v4(IPv4Address(rawValue: 0x0A00_0001), port: 8080)

  private func text(
    _ plan: HTTPCheckPlan, name: String? = nil, address: SocketAddress,
    target: SocketAddress? = nil
  ) -> String {
    String(
      decoding: CheckRequest.bytes(plan, name: name, address: address, target: target ?? address),
      as: UTF8.self)
  }

  private func host(
    _ name: String?, _ address: SocketAddress, _ target: SocketAddress? = nil
  ) -> String? {
    let lines = text(HTTPCheckPlan(), name: name, address: address, target: target)
      .split(separator: "\r\n")
    return lines.first { $0.hasPrefix("Host: ") }.map { String($0.dropFirst(6)) }
  }

  @Test func theSmallestRequest() {
    #expect(
      text(HTTPCheckPlan(), address: v4)
        == "GET / HTTP/1.1\r\nHost: 10.0.0.1:8080\r\nUser-Agent: sluice\r\nConnection: close\r\n\r\n"
    )
  }

  @Test func everythingThatThePlanSays() {
    let plan = HTTPCheckPlan(
      method: "OPTIONS", path: "/a?b=%20", host: "www.example.org",
      headers: [
        .init(name: "X-A", value: "b c"), .init(name: "user-agent", value: "me"),
        .init(name: "X-B", value: "grün"),
      ], body: "ok")
    #expect(
      text(plan, address: v4)
        == "OPTIONS /a?b=%20 HTTP/1.1\r\nHost: www.example.org\r\nX-A: b c\r\nuser-agent: me\r\n"
        + "X-B: grün\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n")
  }

  @Test func theHostIsWhatTheEndpointIsCalled() {
    #expect(host("db.internal", v4) == "db.internal:8080")
    #expect(host("db.internal", .v4(.loopback, port: 80)) == "db.internal")
    #expect(host(nil, .v6(.loopback, port: 80, zone: 3)) == "[::1]")
    #expect(host(nil, .v6(.loopback, port: 81)) == "[::1]:81")
    #expect(host(nil, .unix(path: "/run/a.sock")) == "localhost")
    #expect(host("db.internal", v4, .v4(.loopback, port: 9)) == "db.internal:9")
    #expect(host("db.internal", v4, .unix(path: "/a")) == "db.internal")
    #expect(host(nil, .abstract(name: "a"), .v4(.loopback, port: 9)) == "localhost:9")
  }

  @Test func theTargetIsAnotherPortOrAnotherAddress() {
    typealias Target = HealthCheckPlan.Target
    let other = SocketAddress.unix(path: "/a")
    let v6 = SocketAddress.v6(.loopback, port: 80, zone: 3)
    #expect(Target.endpoint.address(for: v4) == v4)
    #expect(Target.port(81).address(for: v4) == .v4(IPv4Address(rawValue: 0x0A00_0001), port: 81))
    #expect(Target.port(81).address(for: v6) == .v6(.loopback, port: 81, zone: 3))
    #expect(Target.address(other).address(for: v4) == other)
  }
}
