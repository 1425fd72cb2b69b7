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
}
