// SPDX-License-Identifier: Apache-2.0
// `sluice probe`: the exit code is the answer, and what is printed says why.

import Testing

@Suite("probe")
struct ProbeTests {
  /// Something at an address that answers every request with `answer`.
  private func answering(_ answer: String) throws -> Server {
    try Server { connection in
      var request = ""
      while !request.hasSuffix("\r\n\r\n") { request += try connection.receive(1) }
      let path = request.split(separator: " ")[1]
      let content = "\(path)\n"
      try connection.send(
        "HTTP/1.1 \(answer)\r\nContent-Length: \(content.utf8.count)\r\n\r\n\(content)")
    }
  }

  private func file(_ admin: String) throws -> (Folder, String) {
    let folder = try Folder()
    let path = folder.path("config.yaml")
    try "\(admin)\nroutes: {r: {listen: \":1\", to: \"10.0.0.1:1\"}}\n"
      .write(toFile: path, atomically: false, encoding: .utf8)
    return (folder, path)
  }

  @Test("Ready is 0, not ready is 1, and both are printed")
  func answers() throws {
    let ready = try answering("200 OK")
    let yes = try sluice("probe", "--admin", ready.address)
    #expect(yes.exit == .code(0))
    #expect(yes.output == "/readyz\n")
    #expect(yes.errors.isEmpty)
    #expect(try sluice("probe", "--admin", ready.address, "--live").output == "/livez\n")

    let unready = try answering("503 Service Unavailable")
    let no = try sluice("probe", "--admin", unready.address)
    #expect(no.exit == .code(1))
    #expect(no.output == "/readyz\n")
  }

  @Test("The configuration says where, also as an argument", arguments: [["--config"], []])
  func configuration(option: [String]) throws {
    let server = try answering("200 OK")
    let (folder, path) = try file("admin: {listen: \"${WHERE}\"}")
    let program = try Program(
      sluicePath, ["probe"] + option + [path], environment: ["WHERE": server.address])
    #expect(try program.waitForExit() == .code(0))
    withExtendedLifetime(folder) {}
  }

  @Test("What cannot be asked is 69, and says what to do")
  func unanswered() throws {
    let refusing = try RefusingPort()
    let refused = try sluice("probe", "--admin", refusing.address)
    #expect(refused.exit == .code(69))
    #expect(refused.output.isEmpty)
    #expect(refused.errors.hasPrefix("sluice: nobody listens at \(refusing.address); is "))

    let silent = try BoundSocket()
    let late = try sluice("probe", "--admin", silent.address, "--timeout", "50ms")
    #expect(late.exit == .code(69))
    #expect(late.errors.contains("--timeout"))

    let other = try answering("404 Not Found")
    let wrong = try sluice("probe", "--admin", other.address)
    #expect(wrong.exit == .code(69))
    #expect(wrong.errors.contains("answered 404; is that the admin interface?"))
  }

  @Test("A file without an address to ask at is 69, a wrong one 78")
  func noAddress() throws {
    for (admin, words) in [
      ("", "has no admin interface to ask; add"),
      ("admin: {listen: \"127.0.0.1:0\"}", "lets the kernel choose the port"),
    ] {
      let (folder, path) = try file(admin)
      let outcome = try sluice("probe", "--config", path)
      #expect(outcome.exit == .code(69))
      #expect(outcome.errors.hasPrefix("sluice: \(path) \(words)"))
      withExtendedLifetime(folder) {}
    }
    let (none, silent) = try file("")
    #expect(try sluice("probe", silent, "--if-configured").exit == .code(0))
    withExtendedLifetime(none) {}
    // A proxy that was told to take these up goes on as before.
    let gone = try RefusingPort()
    for admin in ["admin: {}", "admin: {listen: \"\(gone.address)\"}"] {
      let (changed, path) = try file(admin)
      #expect(try sluice("probe", path, "--live", "--if-configured").exit == .code(0))
      withExtendedLifetime(changed) {}
    }
    let (folder, path) = try file("admin: {}")
    #expect(try sluice("probe", path).exit == .code(78))
    withExtendedLifetime(folder) {}
  }
}
