// SPDX-License-Identifier: Apache-2.0
// From one time that people set to the three that the kernel wants for keepalive, chosen so that a
// peer that is gone is found within about twice the time, with as few calls as possible.

import CLinux
import Glibc

/// When a silent peer is asked whether it lives, and when it has been silent for too long
/// (tcp(7), `TCP_KEEPIDLE`, `TCP_KEEPINTVL`, `TCP_KEEPCNT`).
struct KeepaliveTimes: Equatable {
  /// The largest number of seconds that the kernel takes.
  private static let secondsMax: UInt32 = 32767
  /// The kernel's own number of questions (`net.ipv4.tcp_keepalive_probes`): none other need be set.
  private static let questionsMax: UInt32 = 9

  /// Seconds of silence before the first question.
  var idle: CInt
  /// Seconds between questions.
  var interval: CInt
  /// How many questions stay without an answer before the peer counts as gone.
  var questions: CInt

  /// Questions begin after `seconds` and are over after about twice the time. There are at least
  /// three, a second apart, so that one lost segment is no lost peer.
  init(seconds: UInt32) {
    let seconds = max(1, min(seconds, KeepaliveTimes.secondsMax))
    let most = KeepaliveTimes.questionsMax
    idle = CInt(seconds)
    interval = CInt(max(1, (seconds + most / 2) / most))
    questions = CInt(min(most, max(3, seconds)))
  }

  /// What a socket has; `nil` if it does not tell.
  init?(of descriptor: CInt) {
    let tcp = CInt(IPPROTO_TCP)
    idle = clinux_get_option(descriptor, tcp, clinux_tcp_keepidle)
    interval = clinux_get_option(descriptor, tcp, clinux_tcp_keepintvl)
    questions = clinux_get_option(descriptor, tcp, clinux_tcp_keepcnt)
    guard idle > 0, interval > 0, questions > 0 else { return nil }
  }

  /// What every new TCP socket has, asked once: setting it again would only cost a call.
  static let usual: KeepaliveTimes? = {
    let number = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
    guard number != -1 else { return nil }
    let probe = Descriptor(owning: number)
    return KeepaliveTimes(of: probe.rawValue)
  }()
}
