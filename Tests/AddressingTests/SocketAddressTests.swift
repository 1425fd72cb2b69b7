// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Addressing

@Suite struct SocketAddressTests {
  @Test(arguments: [
    "0.0.0.0:0", "10.0.0.1:65535", "[::]:80", "[2001:db8::1]:443", "[fe80::1%2]:80", "unix:/run/a",
    "unix:relative", "unix:@name", "unix:@ü",
  ])
  func canonicalTextReadsBackUnchanged(_ text: String) {
    #expect(SocketAddress(text)?.description == text)
  }

  @Test(arguments: [
    "", ":", ":80", "10.0.0.1", "10.0.0.1:", "10.0.0.1:65536", "10.0.0.1:080", "10.0.0.1:+1",
    "10.0.0.1:-1", "10.0.0.1:8 0", "localhost:80", "[10.0.0.1]:80", "::1:80", "[::1]", "[::1]80",
    "[]:80", "[:80", "::1]:80", "[[::1]]:80", "[::1%]:80", "[::1%0]:80", "[::1%eth0]:80",
    "[::1%4294967296]:80", "[%1]:80", "10.0.0.1%1:80", "unix:", "unix:@", "unix:/a\u{0}b",
    "unix:@\u{0}",
  ])
  func whatIsNoSocketAddressIsRefused(_ text: String) {
    #expect(SocketAddress(text) == nil)
  }

  /// The short way for the most frequent kind knows the same addresses as the long one.
  @Test(arguments: [
    "0.0.0.0:0", "10.0.0.1:65535", "255.255.255.255:1", "10.0.0.1", "10.0.0.1:", "10.0.0.1:65536",
    "10.0.0.1:080", "10.0.0.1:+1", "10.0.0.1:8 0", "10.0.0.256:1", "10.0.0.01:1", "10.0.0:1",
    "10.0.0.1.:1", "10.0.0.1.2:1", "10..0.1:1", ".10.0.0.1:1", ":1", "", "10.0.0.1:1:1", "::1:80",
    "localhost:80", "[10.0.0.1]:80", "10.0.0.1x:80", "1000.0.0.1:80",
  ])
  func anIPv4AddressIsReadAlikeOnBothWays(_ text: String) {
    #expect(SocketAddress(ipv4: text) == SocketAddress(text))
  }

  @Test func onlyIPv4IsReadTheShortWay() {
    for text in ["[::1]:80", "unix:/run/a", "unix:@name"] {
      #expect(SocketAddress(ipv4: text) == nil)
    }
  }

  @Test func unixPathsAreBoundedInBytes() {
    let longest = "/" + String(repeating: "p", count: SocketAddress.unixPathBytesMax - 1)
    #expect(SocketAddress("unix:" + longest) == .unix(path: longest))
    #expect(SocketAddress("unix:" + longest + "p") == nil)
    #expect(SocketAddress("unix:@" + longest) == .abstract(name: longest))
    #expect(SocketAddress("unix:@" + longest + "p") == nil)
    #expect(SocketAddress("unix:/" + String(repeating: "ü", count: 54)) == nil)
  }

  @Test func anIPv4ClientOfASocketForBothFamiliesIsShownAsIPv4() throws {
    let address = try #require(SocketAddress("[::ffff:10.0.0.1]:80"))
    #expect(address.description == "10.0.0.1:80")
    #expect(address.ip == .v4(IPv4Address(rawValue: 0x0A00_0001)))
    #expect(address.port == 80)
  }

  @Test func hostsAndPortsAreSplitAtTheLastColon() throws {
    for (text, host, port) in [
      ("a:1", "a", 1), (":0", "", 0), ("[::1]:65535", "::1", 65535), ("a:b:2", "a:b", 2),
    ] {
      let split = try #require(splitHostAndPort(text))
      #expect(split.host == host)
      #expect(Int(split.port) == port)
    }
    for text in [
      "", "a", "a:", "a:x", "a:65536", "a:00", "a:01", "[a:1", "[]:1", "a: 1", "a:123456",
    ] {
      #expect(splitHostAndPort(text) == nil)
    }
  }

  @Test(arguments: 0..<8 as Range<UInt64>)
  func everyAddressReadsBackFromItsText(_ seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    for _ in 0..<500 {
      let port = UInt16.random(in: 0...65535, using: &random)
      let v4 = IPv4Address(rawValue: UInt32.random(in: 0...UInt32.max, using: &random))
      // Runs of zeros are what the short form is about, so most groups are zero.
      var halves: [UInt64] = [0, 0]
      for group in 0..<8 where Bool.random(using: &random) {
        let bits = UInt64.random(in: 0...0xFFFF, using: &random)
        halves[group / 4] |= bits << (48 - 16 * UInt64(group % 4))
      }
      let v6 = IPv6Address(high: halves[0], low: halves[1])
      let zone = UInt32.random(in: 0...3, using: &random)
      #expect(IPv4Address(v4.description) == v4, "seed \(seed)")
      #expect(IPv6Address(v6.description) == v6, "seed \(seed)")
      #expect(IPv6Address(v6.description.uppercased()) == v6, "seed \(seed)")
      let addresses: [SocketAddress] = [.v4(v4, port: port), .v6(v6, port: port, zone: zone)]
      for address in addresses where v6.embeddedIPv4 == nil {
        #expect(SocketAddress(address.description) == address, "seed \(seed)")
      }
    }
  }

  @Test(arguments: 0..<8 as Range<UInt64>)
  func noTextIsACrash(_ seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let alphabet = Array("0019af:.[]%@/unix é".unicodeScalars)
    for _ in 0..<3000 {
      var text = String.UnicodeScalarView()
      for _ in 0..<Int.random(in: 0...24, using: &random) {
        text.append(alphabet[Int.random(in: 0..<alphabet.count, using: &random)])
      }
      if let address = SocketAddress(String(text)) {
        #expect(SocketAddress(address.description) != nil, "seed \(seed): \(String(text))")
      }
    }
  }
}

/// SplitMix64: small, and the same on every machine.
private struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) {
    state = seed
  }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
