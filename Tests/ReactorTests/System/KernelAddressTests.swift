// SPDX-License-Identifier: Apache-2.0
// Addresses survive the way into the kernel's form and back.

import Addressing
import Glibc
import Reactor
import Testing

@Suite struct KernelAddressTests {
  @Test(arguments: ["10.1.2.3:4711", "[2001:db8::1]:80", "[::ffff:10.0.0.1]:1"])
  func ipAddressesComeBack(_ text: String) throws {
    let address = try #require(SocketAddress(text))
    var storage = sockaddr_storage()
    KernelAddress(address).withSockaddr { form, length in
      withUnsafeMutableBytes(of: &storage) {
        $0.copyMemory(from: UnsafeRawBufferPointer(start: form, count: Int(length)))
      }
    }
    #expect(PeerAddress(storage).socketAddress == address)
    #expect(PeerAddress(address) == PeerAddress(storage))
  }

  @Test func unixPeersHaveNoNameAndOneSize() throws {
    #expect(PeerAddress(try #require(SocketAddress("unix:/x"))) == .unix)
    #expect(MemoryLayout<PeerAddress>.stride == 24)
  }
}
