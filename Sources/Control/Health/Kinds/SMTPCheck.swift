// SPDX-License-Identifier: Apache-2.0
// A visit to a mail server (RFC 5321): greeting, EHLO, QUIT.

import Plan

/// Greeting, EHLO, QUIT.
struct SMTPCheck: ConversationCheck {
  private let plan: SMTPCheckPlan
  let answerBytesMax = 64 << 10

  init(_ plan: SMTPCheckPlan) {
    self.plan = plan
  }

  func ask(_ talk: inout Conversation) async throws(CheckStop) {
    try await expect("220", &talk)
    try talk.send(Array("EHLO \(plan.hello)\r\n".utf8))
    try await expect("250", &talk)
    await talk.leave(Array("QUIT\r\n".utf8))
  }

  /// Reads a reply of one or more lines: `250-…` goes on, `250 …` is the last one (section 4.2.1).
  private func expect(_ code: String, _ talk: inout Conversation) async throws(CheckStop) {
    while true {
      let line = try await talk.receiveLine()
      let found = line.prefix(3)
      guard found.count == 3, found.allSatisfy({ (0x30...0x39).contains($0) }) else {
        throw .failed(.foreign("SMTP"))
      }
      guard found.elementsEqual(code.utf8) else {
        // Politely, when it is the server that will not.
        if found.first != UInt8(ascii: "2") { await talk.leave(Array("QUIT\r\n".utf8)) }
        throw .failed(.refused(WireCode(found)))
      }
      switch line.dropFirst(3).first {
      case nil, UInt8(ascii: " "): return
      case UInt8(ascii: "-"): continue
      default: throw .failed(.foreign("SMTP"))
      }
    }
  }
}
