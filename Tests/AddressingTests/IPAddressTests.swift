// SPDX-License-Identifier: Apache-2.0
import Addressing
import Testing

@Suite struct IPAddressTests {
  @Test(arguments: [
    "::", "::1", "1::", "2001:db8::1", "fe80::1:0:0:1", "1:2:3:4:5:6:7:8", "::ffff:10.0.0.1",
    "1:0:0:2::3",
  ])
  func canonicalTextReadsBackUnchanged(_ text: String) {
    #expect(IPv6Address(text)?.description == text)
  }

  @Test(arguments: [
    "", ":", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "12345::", "g::", "1:",
    "::1%eth0", "[::1]", "1.2.3.4", ":1:2:3:4:5:6:7", "1:2:3:4:5:6:7::8",
  ])
  func whatIsNoIPv6AddressIsRefused(_ text: String) {
    #expect(IPv6Address(text) == nil)
  }

  @Test(arguments: [
    ("1:0:0:0:0:0:0:0", "1::"), ("0:0:1:0:0:0:0:1", "0:0:1::1"), ("2001:DB8::0:1", "2001:db8::1"),
    ("1:0:0:2:0:0:3:4", "1::2:0:0:3:4"), ("::0.0.0.1", "::1"),
    ("64:ff9b::10.0.0.1", "64:ff9b::a00:1"),
    ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"), ("1:2:3:4:5:6::", "1:2:3:4:5:6::"),
    ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"), ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"),
  ])
  func otherFormsAreShownInTheCanonicalOne(_ text: String, _ canonical: String) {
    #expect(IPv6Address(text)?.description == canonical)
  }

  @Test(arguments: [
    "1:2:3:4:5:6:7:1.2.3.4", "1.2.3.4::", "::1.2.3", "::1.2.3.4:5", "::01.2.3.4", "1:::2", ":1",
    "::1:",
    "::1 ", " ::1", "::\u{661}", "0:0:0:0:0:0:0:0:", "::00001", "1::2:3:4:5:6:7:8",
  ])
  func whatIsAlmostAnIPv6AddressIsRefused(_ text: String) {
    #expect(IPv6Address(text) == nil)
  }

  @Test(arguments: ["0.0.0.0", "127.0.0.1", "255.255.255.255", "10.0.200.99"])
  func fourNumbersAreAnIPv4Address(_ text: String) {
    #expect(IPv4Address(text)?.description == text)
  }

  @Test(arguments: [
    "", ".", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.", ".1.2.3", "1..2.3", "01.2.3.4",
    "1.2.3.04", "1.2.3.4 ", "+1.2.3.4", "0x1.2.3.4", "1.2.3.1000", "\u{661}.2.3.4",
  ])
  func whatIsNoIPv4AddressIsRefused(_ text: String) {
    #expect(IPv4Address(text) == nil)
  }
}
