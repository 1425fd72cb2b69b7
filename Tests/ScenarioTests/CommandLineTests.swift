// SPDX-License-Identifier: Apache-2.0
// The command line: what each subcommand prints, where, and its exit code.

import Foundation
import Testing

/// A folder with a file `config.yaml`.
private func folder(_ configuration: String) throws -> Folder {
  let folder = try Folder()
  try configuration.write(
    toFile: folder.path("config.yaml"), atomically: false, encoding: .utf8)
  return folder
}

@Suite("check")
struct CheckTests {
  @Test("A sound file is praised on standard output, with exit code 0")
  func sound() throws {
    let folder = try folder("routes: {r: {listen: \":1\", to: [\"10.0.0.1:1\", \"a.b:1\"]}}")
    let file = folder.path("config.yaml")
    let outcome = try sluice("check", "--config", file)
    #expect(outcome.exit == .code(0))
    #expect(outcome.output == "\(file): OK: 1 route, 1 upstream, 2 endpoints\n")
    #expect(outcome.errors.isEmpty)
  }

  @Test("Everything that is wrong is told at once on standard error, with exit code 78")
  func wrong() throws {
    let folder = try folder(
      """
      routes:
        r:
          listen: ":99999"
          to: nobody
          ilde: 3s
      """)
    let file = folder.path("config.yaml")
    let outcome = try sluice("check", "--config", file)
    #expect(outcome.exit == .code(78))
    #expect(outcome.output.isEmpty)
    #expect(outcome.errors.contains("\(file):3:13: error: "))
    #expect(outcome.errors.contains("\(file):4:9: error: "))
    #expect(outcome.errors.contains("\(file):5:5: error: "))
    #expect(outcome.errors.contains("    ^"))
    #expect(outcome.errors.contains("idle"))
  }

  @Test("The file may stand there without an option")
  func argument() throws {
    let folder = try folder("routes: {r: {listen: \":1\", to: \"10.0.0.1:1\"}}")
    let outcome = try sluice("check", folder.path("config.yaml"))
    #expect(outcome.exit == .code(0))
  }

  @Test("A hyphen is standard input", arguments: [["-c", "-"], ["-"]])
  func standardInput(arguments: [String]) throws {
    let folder = try folder("routes: {r: {listen: \":1\", to: nobody}}")
    let file = open(folder.path("config.yaml"), O_RDONLY | O_CLOEXEC)
    defer { close(file) }
    let program = try Program(sluicePath, ["check"] + arguments, descriptors: [0: file])
    #expect(try program.waitForExit() == .code(78))
    #expect(program.errorText.hasPrefix("<stdin>:1:32: error: there is no upstream `nobody`"))
  }

  @Test("Standard input without an end is not read to it")
  func endlessInput() throws {
    let zero = open("/dev/zero", O_RDONLY | O_CLOEXEC)
    defer { close(zero) }
    let program = try Program(sluicePath, ["check", "-"], descriptors: [0: zero])
    #expect(try program.waitForExit() == .code(78))
    #expect(program.errorText.contains("at most 4194304 bytes"))
  }

  @Test("A file that is not there is told by its name", arguments: ["run", "check"])
  func missing(subcommand: String) throws {
    let outcome = try sluice(subcommand, "--config", "/nowhere/config.yaml")
    #expect(outcome.exit == .code(78))
    #expect(outcome.errors.contains("/nowhere/config.yaml"))
  }

  @Test("What a variable holds is in no diagnostic")
  func secret() throws {
    let folder = try folder("routes: {r: {listen: \":1\", to: \"${WHERE}\"}}")
    let outcome = try sluice(
      "check", "--config", folder.path("config.yaml"), environment: ["WHERE": "hunter2:x"])
    #expect(outcome.exit == .code(78))
    #expect(!outcome.errors.contains("hunter2"))
  }
}

@Suite("Other subcommands")
struct SubcommandTests {
  @Test("version prints name and version", arguments: ["version", "--version"])
  func version(argument: String) throws {
    let outcome = try sluice(argument)
    #expect(outcome.exit == .code(0))
    #expect(outcome.output.contains("0."))
  }

  @Test("schema prints a JSON object")
  func schema() throws {
    let outcome = try sluice("schema")
    #expect(outcome.exit == .code(0))
    let object = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8))
    #expect((object as? [String: Any])?["properties"] != nil)
  }

  @Test("Help names every subcommand and exit code", arguments: [["--help"], ["help"], []])
  func help(arguments: [String]) throws {
    let program = try Program(sluicePath, arguments)
    #expect(try program.waitForExit() == .code(0))
    for word in ["run", "check", "schema", "version", "64", "69", "78"] {
      #expect(program.outputText.contains(word))
    }
  }

  @Test("A subcommand that is nearly one is told which")
  func misspelt() throws {
    let outcome = try sluice("chek")
    #expect(outcome.exit == .code(64))
    #expect(outcome.errors.contains("Did you mean 'check'?"))
  }

  @Test(
    "Wrong usage has exit code 64",
    arguments: [["walk"], ["check", "-c", "x", "y"], ["check", "--what"]])
  func wrongUsage(arguments: [String]) throws {
    let program = try Program(sluicePath, arguments)
    #expect(try program.waitForExit() == .code(64))
    #expect(program.outputText.isEmpty)
    #expect(program.errorText.contains("sluice"))
  }
}

@Suite("run")
struct RunTests {
  @Test("A host in a variable is named when it cannot be looked up: names are no secrets")
  func hostInVariable() throws {
    let folder = try folder("routes: {r: {listen: \"127.0.0.1:0\", to: \"${WHERE}:1\"}}")
    let outcome = try sluice(
      "run", folder.path("config.yaml"), environment: ["WHERE": "no.such.invalid"])
    #expect(outcome.exit == .code(69))
    #expect(outcome.errors.contains("cannot look up no.such.invalid"))
  }

  @Test("Everything that stands in the way is told at once, with exit code 69")
  func cannotStart() throws {
    let taken = [try BoundSocket(), try BoundSocket()]
    let folder = try folder(
      """
      log: {access: /nowhere/access.log}
      routes:
        r: {listen: ["\(taken[0].address)", "\(taken[1].address)"], to: "no.such.invalid:1"}
      """)
    let outcome = try sluice("run", "--config", folder.path("config.yaml"))
    #expect(outcome.exit == .code(69))
    #expect(outcome.errors.contains(taken[0].address))
    #expect(outcome.errors.contains(taken[1].address))
    #expect(outcome.errors.contains("cannot look up no.such.invalid"))
    #expect(outcome.errors.contains("/nowhere/access.log"))
  }

  @Test("A start that fails leaves no file of a unix socket behind")
  func leavesNothing() throws {
    let folder = try Folder()
    let taken = try BoundSocket()
    try """
    routes:
      r: {listen: ["unix:\(folder.path("s"))", "\(taken.address)"], to: "builtin:echo"}
    """.write(toFile: folder.path("config.yaml"), atomically: false, encoding: .utf8)
    let outcome = try sluice("run", "--config", folder.path("config.yaml"))
    #expect(outcome.exit == .code(69))
    #expect(!folder.exists("s"))
  }

  @Test("Variables of the environment reach a running proxy")
  func environment() throws {
    let server = try Server.named("a")
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "${HOST:-127.0.0.1}:0", to: "${SERVER}"}
      """, environment: ["SERVER": server.address])
    #expect(try Connection(proxy.address()).ask("") == "a")
  }

  @Test("What listens, to whom it leads and which bound holds is told before it is ready")
  func announcement() throws {
    let proxy = try ProxyProcess(
      """
      max_sessions: 7
      routes:
        r: {listen: "127.0.0.1:0", to: u, max_sessions: 5}
      upstreams:
        u: {endpoints: ["127.0.0.1:9", "unix:/tmp/no socket"]}
      """)
    let listening = proxy.event("listening")
    #expect(listening?["to"] == "127.0.0.1:9,unix:/tmp/no socket")
    #expect(listening?["upstream"] == "u")
    #expect(listening?["sessions_max"] == "5")
    #expect(!proxy.program.errorText.contains("a source address"))
    let limits = proxy.event("limits")
    #expect(limits?["sessions_max"] == "7")
    #expect(limits?["sessions_max_from"] == "max_sessions")
  }

  @Test("A source address that this machine does not have is told, and the proxy starts")
  func missingSource() throws {
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: u}
      upstreams:
        u: {endpoints: ["127.0.0.1:9"], source: ["127.0.0.1", "192.0.2.1"]}
      """)
    let warning = proxy.event("a source address cannot be used now")
    #expect(warning?["upstream"] == "u")
    #expect(warning?["source"] == "192.0.2.1")
    #expect(warning?["cause"] == "Cannot assign requested address")
  }
}
