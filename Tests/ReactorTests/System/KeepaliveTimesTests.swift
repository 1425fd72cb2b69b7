// SPDX-License-Identifier: Apache-2.0
// A peer that is gone is found within about twice the time that was set, and sockets have the times
// that were meant, however few calls set them.

import Addressing
import CLinux
import Glibc
import Testing

@testable import Reactor

@Suite struct KeepaliveTimesTests {
  @Test func aSilentPeerIsGivenUpWithinAboutTwiceTheTime() {
    for seconds in 1...32767 as ClosedRange<CInt> {
      let times = KeepaliveTimes(seconds: UInt32(seconds))
      let total = times.idle + times.interval * times.questions
      #expect(times.idle == seconds)
      #expect(times.questions >= 3)
      #expect(total >= seconds + seconds / 2, "\(seconds) s")
      #expect(total <= max(seconds + 3, seconds * 12 / 5), "\(seconds) s")
    }
  }

  @Test func theDefaultOfAMinuteTakesAboutTwo() {
    let times = KeepaliveTimes(seconds: 60)
    #expect(times.idle + times.interval * times.questions == 123)
  }

  @Test(arguments: [0, UInt32.max]) func whatTheKernelWouldRefuseIsBroughtIntoItsRange(
    _ seconds: UInt32
  ) {
    #expect((1...32767).contains(KeepaliveTimes(seconds: seconds).idle))
  }

  @Test(arguments: [1, 4, 9, 60, 675, 7200] as [UInt32])
  func aSocketHasTheTimesThatWereAskedFor(_ seconds: UInt32) throws {
    let kernel = LinuxKernel()
    let options = StreamOptions(keepaliveSeconds: seconds)
    for address in [SocketAddress.v4(.loopback, port: 9), .v6(.loopback, port: 9)] {
      let number = try kernel.makeSocket(for: KernelAddress(address), options: options)
      kernel.setLastingOptions(number, options)
      #expect(KeepaliveTimes(of: number) == KeepaliveTimes(seconds: seconds))
      kernel.close(number)
    }
  }

  @Test(arguments: [4_999, 5_000, 60_000] as [UInt32])
  func aSocketHasTheOtherOptionsOnceTheyMatter(_ milliseconds: UInt32) throws {
    let kernel = LinuxKernel()
    let options = StreamOptions(
      noDelay: true, userTimeoutMilliseconds: milliseconds, unsentBytesMax: 7000)
    let address = KernelAddress(.v4(.loopback, port: 9))
    let number = try kernel.makeSocket(for: address, options: options)
    let tcp = CInt(IPPROTO_TCP)
    func timeout() -> CInt { clinux_get_option(number, tcp, clinux_tcp_user_timeout) }
    // What may pass soon counts from the start.
    #expect(timeout() == (milliseconds < 5000 ? CInt(milliseconds) : 0))
    kernel.setLastingOptions(number, options)
    #expect(timeout() == CInt(milliseconds))
    #expect(clinux_get_option(number, tcp, clinux_tcp_notsent_lowat) == 7000)
    #expect(clinux_get_option(number, tcp, TCP_NODELAY) == 0)
    kernel.setNoDelay(number)
    #expect(clinux_get_option(number, tcp, TCP_NODELAY) == 1)
    kernel.close(number)
  }

  @Test func anInheritedListenerLosesTheTimesItHadBefore() throws {
    let number = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
    // What a new socket need not be told, this one must be.
    let usual = try #require(KeepaliveTimes.usual)
    setStreamOptions(number, StreamOptions(keepaliveSeconds: 5))
    let options = StreamOptions(keepaliveSeconds: UInt32(usual.idle))
    let listener = try ListeningSocket(inherited: number, backlog: 1, options: options)
    #expect(KeepaliveTimes(of: listener.rawValue) == KeepaliveTimes(seconds: UInt32(usual.idle)))
  }
}
