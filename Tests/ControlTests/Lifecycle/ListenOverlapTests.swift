// SPDX-License-Identifier: Apache-2.0
// Which listeners are in each other's way.

import Addressing
import Plan
import Testing

@testable import Control

@Suite("Overlapping listeners")
struct ListenOverlapTests {
  private func address(_ text: String) throws -> ListenAddress {
    if text.hasPrefix(":") { return .port(try #require(UInt16(text.dropFirst()))) }
    return .socket(try #require(SocketAddress(text)))
  }

  @Test(
    "The same place, and one that covers it",
    arguments: [
      (":80", ":80"), (":80", "127.0.0.1:80"), (":80", "[::1]:80"), ("0.0.0.0:80", "10.0.0.1:80"),
      ("[::]:80", "[::1]:80"), ("unix:/run//a", "unix:/run/a"), ("unix:@a", "unix:@a"),
    ])
  func overlapping(one: String, other: String) throws {
    let claims = try [one, other].map { ListenClaim(try address($0)) }
    #expect(claims[0].overlaps(claims[1]))
    #expect(claims[1].overlaps(claims[0]))
  }

  @Test(
    "Other ports, other addresses, other families",
    arguments: [
      (":80", ":81"), ("127.0.0.1:80", "127.0.0.2:80"), ("0.0.0.0:80", "[::]:80"),
      ("127.0.0.1:0", "127.0.0.1:0"), ("unix:/run/a", "unix:/run/b"), ("unix:/a", "unix:@a"),
      (":80", "unix:/a"),
    ])
  func apart(one: String, other: String) throws {
    let claims = try [one, other].map { ListenClaim(try address($0)) }
    #expect(!claims[0].overlaps(claims[1]))
    #expect(!claims[1].overlaps(claims[0]))
  }

  @Test("What was handed over is where it is bound")
  func inherited() throws {
    let handed = ListenClaim(.inherited(descriptor: 3), bound: SocketAddress("[::]:80"))
    #expect(handed.overlaps(ListenClaim(try address("127.0.0.1:80"))))
    #expect(!handed.overlaps(ListenClaim(try address("127.0.0.1:81"))))
    let chosen = ListenClaim(try address("127.0.0.1:0"), bound: SocketAddress("127.0.0.1:4711"))
    #expect(chosen.overlaps(ListenClaim(.port(4711))))
  }
}
