// SPDX-License-Identifier: Apache-2.0
// Why a check failed, in words for a log line. What was sent and what was looked for may be secrets, and an
// answer may repeat them: of an answer no more is told than codes and names of a form that no secret
// travels in. Only a script's own last line is told as it is, because that is what it is for.

import EventLoop
import HTTP1
import Plan
import Reactor

/// Why a check failed.
indirect enum CheckFailure: Hashable, Sendable {
  /// No connection stood in time.
  case noConnection(within: Duration)
  /// A connection stood, but the answer was not complete in time.
  case noAnswer(within: Duration)
  /// What the kernel said, and what was being done.
  case stream(StreamError)
  /// The connection ended before an answer did.
  case ended
  /// The answer is longer than any that is read.
  case tooLong(bytesMax: Int)

  /// The answer is no HTTP.
  case malformed(MessageError)
  /// A status that is not one of the good ones.
  case status(Int)
  /// One interim answer after another.
  case interim
  /// The head of the answer did not fit.
  case headTooLong(bytesMax: Int)
  /// The body does not hold what is looked for; `bytesMax` is there if not all of it was read.
  case bodyLacks(bytesMax: Int?)

  /// The answer is none of the protocol, which is named.
  case foreign(String)
  /// The server says no, with this code.
  case refused(WireCode)
  /// It has another role than it must have.
  case role(WireCode, wanted: String)
  /// It does not let the check log in; why.
  case login(String)
  /// The TLS alert of this number.
  case alert(UInt8)
  /// The TLS version of this number is older than those that are asked for.
  case oldTLS(UInt16)
  /// What this step of an exchange expects, counted from 1, has not come; `bytesMax` is there if not all
  /// was read.
  case exchange(step: Int, bytesMax: Int?)
  /// How a script ended, and its last line.
  case script(ProgramEnd.Status, lastLine: String)
  /// A script did not end in time.
  case scriptTimeout(Duration)

  /// The check of this kind among several.
  case part(String, CheckFailure)
  /// None of several was good.
  case all([CheckFailure])
}

/// A word or number of a server's own vocabulary, which it tells what is wrong with. Other bytes than
/// letters, digits, `_` and `-` are not taken, nor more than 32 of them.
struct WireCode: Hashable, Sendable, CustomStringConvertible {
  let description: String

  /// The word at the front of bytes; `?` if there is none.
  init(_ bytes: some Sequence<UInt8>) {
    let word = bytes.prefix { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"): true
      default: false
      }
    }
    description = word.isEmpty || word.count > 32 ? "?" : String(decoding: word, as: UTF8.self)
  }

  init(_ text: String) {
    self.init(text.utf8)
  }
}

extension CheckFailure: CustomStringConvertible {
  /// What happened, in words, as the cause in a log line.
  var description: String {
    switch self {
    case .noConnection(let timeout): "no connection within \(timeout.configurationText)"
    case .noAnswer(let timeout): "no answer within \(timeout.configurationText)"
    case .stream(let error): error.description
    case .ended: "the connection ended without an answer"
    case .tooLong(let max): "the answer is longer than \(max) bytes"
    case .malformed(let error): "the answer is not HTTP as it should be: \(error)"
    case .status(let code): "status \(code)"
    case .interim: "one interim answer after another"
    case .headTooLong(let max): "the head of the answer is longer than \(max) bytes"
    case .bodyLacks(nil): "the body lacks what `body` wants"
    case .bodyLacks(let max?): "the first \(max) bytes of the answer lack what `body` wants"
    case .foreign(let name): "the answer is not \(name)"
    case .refused(let code): "the server refuses: \(code)"
    case .role(let role, let wanted): "the role is \(role), and `\(wanted)` is asked for"
    case .login(let reason): "cannot log in: \(reason)"
    case .alert(let number): "TLS alert \(alertName(number) ?? "\(number)")"
    case .oldTLS(let version): "TLS version \(version >> 8).\(version & 255), older than TLS 1.2"
    case .exchange(let step, nil): "what step \(step) expects has not come"
    case .exchange(let step, let max?): "what step \(step) expects is not in \(max) bytes"
    case .script(let status, let line): line.isEmpty ? status.words : "\(status.words): \(line)"
    case .scriptTimeout(let timeout): "the script did not end within \(timeout.configurationText)"
    case .part(let name, let failure): "\(name): \(failure)"
    case .all(let failures): failures.map(\.description).joined(separator: "; ")
    }
  }
}

extension ProgramEnd.Status {
  fileprivate var words: String {
    switch self {
    case .exited(let code): "exit code \(code)"
    case .killed(let signal): "killed by signal \(signal)"
    }
  }
}

/// The name of a TLS alert (RFC 8446, section 6, and the older ones of RFC 5246).
private func alertName(_ number: UInt8) -> String? {
  switch number {
  case 0: "close_notify"
  case 10: "unexpected_message"
  case 20: "bad_record_mac"
  case 22: "record_overflow"
  case 40: "handshake_failure"
  case 42: "bad_certificate"
  case 47: "illegal_parameter"
  case 48: "unknown_ca"
  case 49: "access_denied"
  case 50: "decode_error"
  case 51: "decrypt_error"
  case 70: "protocol_version"
  case 71: "insufficient_security"
  case 80: "internal_error"
  case 86: "inappropriate_fallback"
  case 90: "user_canceled"
  case 109: "missing_extension"
  case 110: "unsupported_extension"
  case 112: "unrecognized_name"
  case 116: "certificate_required"
  case 120: "no_application_protocol"
  default: nil
  }
}
