// SPDX-License-Identifier: Apache-2.0
// Endpoints that are found: by name servers that change their answers, and in files that change.

import Addressing
import DNSServing
import Foundation
import Glibc
import Testing

@Suite("Discovery")
struct DiscoveryTests {
  private let names = NameServer()
  /// Three endpoints at one port, each at an address of its own.
  private let port: UInt16
  private let servers: [Server]

  init() throws {
    var servers = [try Server.named("1", at: "127.0.3.1:0")]
    let port = try #require(SocketAddress(servers[0].address)?.port)
    for number in 2...3 {
      servers.append(try Server.named("\(number)", at: "127.0.3.\(number):\(port)"))
    }
    self.servers = servers
    self.port = port
  }

  /// One route to an upstream whose names our server is asked for.
  private func file(_ endpoints: String, _ resolve: String = "", _ more: String = "") -> String {
    """
    workers: 1
    routes: {r: {listen: "127.0.0.1:0", to: u}}
    upstreams:
      u:
        resolve: {server: "\(names.address)", min: 1s\(resolve)}
        endpoints: [\(endpoints)]
        \(more)
    """
  }

  /// Who serves now: asked for until they are these.
  private func serve(_ proxy: ProxyProcess, _ wanted: Set<String>) throws -> Bool {
    let address = try proxy.address()
    return eventually {
      let served = (0..<6).compactMap { _ in try? Connection(address).ask("") }
      return served.count == 6 && Set(served) == wanted
    }
  }

  @Test(
    "Endpoints follow a name when its time to live is over, whatever the system's resolver says")
  func timeToLive() throws {
    names.say("db.test", ["127.0.3.1"], 1)
    let proxy = try ProxyProcess(file("\"db.test:\(port)\"", ", every: ttl"))
    #expect(proxy.event("looked up")?["ttl"] == "1s")
    #expect(try serve(proxy, ["1"]))
    names.say("db.test", ["127.0.3.2", "127.0.3.3"], 1)
    #expect(try serve(proxy, ["2", "3"]))
    #expect(proxy.event("a name has other addresses")?["removed"] == "127.0.3.1")
  }

  @Test("A name that is to be kept for long is not asked for again")
  func kept() throws {
    names.say("db.test", ["127.0.3.1"], 3600)
    names.say("other.test", ["127.0.3.2"], 0)
    let proxy = try ProxyProcess(file("\"db.test:\(port)\", \"other.test:\(port)\""))
    #expect(eventually { names.asked.filter { $0 == "A other.test" }.count >= 3 })
    #expect(names.asked.filter { $0 == "A db.test" }.count == 1)
    #expect(try serve(proxy, ["1", "2"]))
  }

  @Test("A name server that fails, or says that there is nothing, takes nobody away")
  func failing() throws {
    names.say("db.test", ["127.0.3.1"], 1)
    let proxy = try ProxyProcess(file("\"db.test:\(port)\"", ", max: 1s"))
    for type in ["A", "AAAA"] { names.say(type, "db.test", .code(2)) }
    let warning = proxy.event("a name cannot be looked up; its last addresses stay")
    #expect(warning?["cause"]?.contains("SERVFAIL") == true)
    for type in ["A", "AAAA"] { names.say(type, "db.test", .nothing) }
    let asked = names.asked.count
    #expect(eventually { names.asked.count > asked + 2 })
    #expect(try serve(proxy, ["1"]))
    names.say("db.test", ["127.0.3.1"], 1)
    #expect(proxy.event("a name can be looked up again") != nil)
  }

  @Test("A service tells ports, weights and priorities, and its servers are followed")
  func service() throws {
    func say(_ targets: [(name: String, priority: UInt16)]) {
      names.say(
        "SRV", "_db._tcp.test",
        .records(
          targets.map {
            .service("_db._tcp.test", $0.name, port: port, priority: $0.priority, weight: 5, 1)
          }))
    }
    for number in 1...3 { names.say("n\(number).test", ["127.0.3.\(number)"], 1) }
    say([("n1.test", 1), ("n2.test", 2)])
    let proxy = try ProxyProcess(file("\"srv:_db._tcp.test\""))
    #expect(try serve(proxy, ["1"]))
    // The other way round: the same endpoints, with other priorities.
    say([("n1.test", 2), ("n2.test", 1)])
    #expect(try serve(proxy, ["2"]))
    #expect(proxy.event("a service has other weights or priorities") != nil)
    say([("n1.test", 1), ("n3.test", 1)])
    #expect(try serve(proxy, ["1", "3"]))
    #expect(proxy.event("a service has other servers")?["removed"] == "n2.test(127.0.3.2:\(port))")
    // One server's name cannot be looked up: it stays where it was.
    names.say("A", "n3.test", .code(2))
    #expect(
      proxy.event("a server of a service cannot be looked up")?["server"] == "n3.test")
    names.say("n1.test", ["127.0.3.2"], 1)
    #expect(try serve(proxy, ["2", "3"]))
  }

  @Test("A service that nobody knows is in the way of starting")
  func unknownService() throws {
    let folder = try Folder()
    let path = folder.path("config.yaml")
    try file("\"srv:_db._tcp.test\"").write(toFile: path, atomically: false, encoding: .utf8)
    let program = try Program(sluicePath, ["run", "--config", path])
    #expect(try program.waitForExit() == .code(69))
    #expect(
      program.errorText.contains(
        "upstream u, endpoint srv:_db._tcp.test: cannot look up _db._tcp.test: there is no such name"
      ))
  }

  // MARK: Files

  private func list(_ numbers: Int...) -> String {
    numbers.map { "- \"127.0.3.\($0):\(port)\"\n" }.joined()
  }

  @Test("A file that is written over, renamed into place, or behind a link that turns, is followed")
  func endpointsFile() throws {
    let folder = try Folder()
    func write(_ text: String, _ name: String) throws {
      try text.write(toFile: folder.path(name), atomically: false, encoding: .utf8)
    }
    try write(list(1), "list.yaml")
    let proxy = try ProxyProcess(
      """
      routes: {r: {listen: "127.0.0.1:0", to: u}}
      upstreams: {u: {endpoints_file: \(folder.path("list.yaml"))}}
      """)
    let session = try Connection(proxy.address())
    #expect(try session.receive(1) == "1")
    try write(list(2), "list.yaml")
    #expect(try serve(proxy, ["2"]))
    let line = proxy.event("an endpoints file has other endpoints")
    #expect(line?["added"] == "127.0.3.2:\(port)")
    #expect(line?["removed"] == "127.0.3.1:\(port)")
    // As JSON, and by a rename.
    try write("[\"127.0.3.3:\(port)\", {\"address\": \"127.0.3.1:\(port)\"}]", "new.yaml")
    rename(folder.path("new.yaml"), folder.path("list.yaml"))
    #expect(try serve(proxy, ["1", "3"]))
    // As mounted volumes do it: a link to a folder is turned.
    for (number, name) in [(1, "..first"), (2, "..second")] {
      mkdir(folder.path(name), 0o755)
      try write(list(number), "\(name)/list.yaml")
    }
    symlink("..first", folder.path("..data"))
    symlink("..data/list.yaml", folder.path("link"))
    rename(folder.path("link"), folder.path("list.yaml"))
    #expect(try serve(proxy, ["1"]))
    symlink("..second", folder.path("..turned"))
    rename(folder.path("..turned"), folder.path("..data"))
    #expect(try serve(proxy, ["2"]))
    // The session of the beginning has not noticed.
    session.finish()
    #expect(try session.receiveAll().isEmpty)
  }

  @Test("A file with faults, an empty one and none change nothing, and the log says why")
  func brokenFile() throws {
    let folder = try Folder()
    let path = folder.path("list.yaml")
    func write(_ text: String) throws {
      try text.write(toFile: path, atomically: true, encoding: .utf8)
    }
    try write(list(1, 2))
    let proxy = try ProxyProcess(
      """
      routes: {r: {listen: "127.0.0.1:0", to: u}}
      upstreams: {u: {endpoints_file: \(path), endpoints: ["127.0.3.3:\(port)"]}}
      """)
    func told(_ cause: String) -> Bool {
      proxy.program.wait { () -> Bool? in
        let isThere = logLines(proxy.program.errorText).contains {
          $0.message == "an endpoints file cannot be used; its last endpoints stay"
            && $0["cause"]?.contains(cause) == true
        }
        return isThere ? true : nil
      } == true
    }
    try write("- \"127.0.3.1\"\n")
    #expect(told("\(path):1:3: error: `127.0.3.1` has no port"))
    try write("[]")
    #expect(told("at least one item"))
    unlink(path)
    #expect(told("No such file"))
    try write("- \"no.such.invalid:1\"\n")
    #expect(told("cannot look up no.such.invalid"))
    #expect(try serve(proxy, ["1", "2", "3"]))
    try write(list(2))
    #expect(try serve(proxy, ["2", "3"]))
  }

  @Test("A list with a name that nobody answers for is waited for by no other change")
  func silentName() throws {
    let folder = try Folder()
    let path = folder.path("list.yaml")
    try list(3).write(toFile: path, atomically: true, encoding: .utf8)
    names.say("db.test", ["127.0.3.1"], 1)
    let more = """
      v:
          endpoints_file: \(path)
          resolve: {server: "\(names.address)", every: ttl, timeout: 1m}
      """
    let routes = "to: u}, s: {listen: \"127.0.0.1:0\", to: v}"
    let proxy = try ProxyProcess(
      file("\"db.test:\(port)\"", ", every: ttl").replacing("to: u}", with: routes)
        + "\n  \(more)")
    for type in ["A", "AAAA"] { names.say(type, "silent.test", .silence) }
    try "- \"silent.test:1\"\n".write(toFile: path, atomically: true, encoding: .utf8)
    #expect(eventually { names.asked.contains("A silent.test") })
    names.say("db.test", ["127.0.3.2"], 1)
    #expect(proxy.event("a name has other addresses") != nil)
    #expect(try serve(proxy, ["2"]))
  }

  @Test("Many names of one machine's name servers are looked up at once when it starts")
  func manyNames() throws {
    let folder = try Folder()
    let path = folder.path("config.yaml")
    let endpoints = (0..<30).map { "\"name\($0).invalid:1\"" }.joined(separator: ", ")
    try """
    routes: {r: {listen: "127.0.0.1:0", to: u}}
    upstreams: {u: {resolve: {every: ttl, timeout: 100ms}, endpoints: [\(endpoints)]}}
    """.write(toFile: path, atomically: false, encoding: .utf8)
    let program = try Program(sluicePath, ["run", "--config", path])
    #expect(try program.waitForExit() == .code(69))
    #expect(program.errorText.contains("cannot look up name29.invalid"))
    #expect(!program.errorText.contains("too much work of this kind"))
  }

  @Test("`check` reads the file, too, and one that cannot be read is in the way of starting")
  func checked() throws {
    let folder = try Folder()
    let path = folder.path("config.yaml")
    let listPath = folder.path("list.yaml")
    try """
    routes: {r: {listen: "127.0.0.1:0", to: u}}
    upstreams: {u: {endpoints_file: \(listPath)}}
    """.write(toFile: path, atomically: false, encoding: .utf8)
    let missing = try Program(sluicePath, ["run", "--config", path])
    #expect(try missing.waitForExit() == .code(78))
    #expect(missing.errorText.contains("cannot read \(listPath): No such file"))
    try "- nonsense\n".write(toFile: listPath, atomically: false, encoding: .utf8)
    let wrong = try Program(sluicePath, ["check", "--config", path])
    #expect(try wrong.waitForExit() == .code(78))
    #expect(wrong.errorText.contains("\(listPath):1:3: error: "))
    try list(1, 2).write(toFile: listPath, atomically: false, encoding: .utf8)
    let right = try Program(sluicePath, ["check", "--config", path])
    #expect(try right.waitForExit() == .code(0))
    #expect(right.outputText.contains("1 upstream, 2 endpoints"))
  }
}
