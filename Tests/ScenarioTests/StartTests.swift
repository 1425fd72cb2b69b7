// SPDX-License-Identifier: Apache-2.0
// Starts on machines that are short of something: the program says what and how much of it, and
// stays able to hear a signal.

import CLinux
import Foundation
import Glibc
import Testing

/// A folder that everybody may enter, with a configuration.
private func folder(_ configuration: String) throws -> Folder {
  let folder = try Folder()
  chmod(folder.root, 0o755)
  let file = folder.path("config.yaml")
  try configuration.write(toFile: file, atomically: false, encoding: .utf8)
  return folder
}

/// Whether a command ends with success.
private func succeeds(_ command: String...) -> Bool {
  let program = try? Program(command[0], Array(command.dropFirst()))
  return (try? program?.waitForExit()) == .code(0)
}

/// Whether this test may give a process files of its own in place of the machine's.
private let canMount =
  geteuid() == 0
  && succeeds(
    "/usr/bin/unshare", "--mount", "/bin/mount", "--bind", "/dev/null", "/etc/resolv.conf")

/// Whether this test may give a process a network of its own, with an address.
private let canMakeNetwork =
  canMount
  && succeeds(
    "/usr/bin/unshare", "--net", "/bin/sh", "-c", "ip address add 10.9.8.7/32 dev lo")

/// Whether this test may run the program as another user: the build may be out of its reach.
private let canRunAsNobody =
  geteuid() == 0
  && succeeds(
    "/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "prlimit",
    "--nproc=20", sluicePath, "version")

@Suite("start")
struct StartTests {
  @Test("An access log that is a pipe nobody reads is refused instead of waited for")
  func pipeWithoutReader() throws {
    let folder = try Folder()
    #expect(mkfifo(folder.path("pipe"), 0o600) == 0)
    try """
    log: {access: \(folder.path("pipe"))}
    routes: {r: {listen: "127.0.0.1:0", to: "builtin:echo"}}
    """.write(toFile: folder.path("config.yaml"), atomically: false, encoding: .utf8)
    let outcome = try sluice("run", "--config", folder.path("config.yaml"))
    #expect(outcome.exit == .code(69))
    #expect(outcome.errors.contains("\(folder.path("pipe")): nobody reads this pipe"))
  }

  @Test("An open-files limit that the workers use up is told with both figures")
  func openFiles() throws {
    let folder = try folder(
      """
      workers: 200
      routes: {r: {listen: "127.0.0.1:0", to: "builtin:echo"}}
      """)
    let program = try Program(
      "/bin/sh",
      [
        "-c", "ulimit -n 512; exec \"$0\" run --config \"$1\"", sluicePath,
        folder.path("config.yaml"),
      ])
    #expect(try program.waitForExit() == .code(69))
    #expect(program.errorText.contains("open-files limit of 512 "))
    #expect(program.errorText.contains("workers: 200"))
  }

  @Test("A limit of processes below the number of workers is told", .enabled(if: canRunAsNobody))
  func processes() throws {
    let folder = try folder(
      """
      workers: 50
      routes: {r: {listen: "127.0.0.1:0", to: "builtin:echo"}}
      """)
    let program = try Program(
      "/usr/bin/setpriv",
      [
        "--reuid=65534", "--regid=65534", "--clear-groups", "prlimit", "--nproc=20",
        sluicePath, "run", "--config", folder.path("config.yaml"),
      ])
    #expect(try program.waitForExit() == .code(69))
    #expect(program.errorText.contains("of 50: no more threads"))
    #expect(program.errorText.contains("workers: 50"))
    #expect(program.errorText.contains("ulimit -u is 20"))
  }

  @Test(
    "While names are looked up nothing listens, and a signal ends the program at once",
    .enabled(if: canMount))
  func slowNames() throws {
    // A name server that takes every question and answers none.
    let server = socket(AF_INET, CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
    defer { close(server) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(53).bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_3535).bigEndian
    let bound = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(server, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard bound == 0 else { return }
    let folder = try Folder()
    let path = folder.path("s")
    try """
    routes: {r: {listen: "unix:\(path)", to: "slow.example:80"}}
    """.write(toFile: folder.path("config.yaml"), atomically: false, encoding: .utf8)
    try "nameserver 127.0.53.53\noptions timeout:30\n".write(
      toFile: folder.path("resolv.conf"), atomically: false, encoding: .utf8)
    let program = try Program(
      "/usr/bin/unshare",
      [
        "--mount", "/bin/sh", "-c",
        "mount --bind \"$1\" /etc/resolv.conf && exec \"$2\" run --config \"$3\"", "sh",
        folder.path("resolv.conf"), sluicePath, folder.path("config.yaml"),
      ])
    let told = program.wait {
      logLines(program.errorText).first { $0.message == "looking up names" }
    }
    #expect(told?["count"] == "1")
    #expect(!folder.exists("s"))
    program.send(SIGHUP)
    program.send(SIGTERM)
    #expect(try program.waitForExit() == .code(0))
    let last = logLines(program.errorText).last
    #expect(last?.message == "ended")
    #expect(last?["signal"] == "SIGTERM")
    #expect(!folder.exists("s"))
  }

  @Test(
    "On a machine without IPv6 a name's IPv6 addresses are no endpoints",
    .enabled(if: canMakeNetwork))
  func onlyUsableFamilies() throws {
    let folder = try Folder()
    try """
    routes: {r: {listen: "unix:\(folder.path("s"))", to: ["dual.test:80", "six.test:80"]}}
    """.write(toFile: folder.path("config.yaml"), atomically: false, encoding: .utf8)
    try "10.9.8.1 dual.test\nfd00::1 dual.test\nfd00::6 six.test\n".write(
      toFile: folder.path("hosts"), atomically: false, encoding: .utf8)
    let program = try Program(
      "/usr/bin/unshare",
      [
        "--mount", "--net", "/bin/sh", "-c",
        """
        ip address add 10.9.8.7/32 dev lo && mount --bind "$1" /etc/hosts &&
          mount --bind /dev/null /etc/resolv.conf && exec "$2" run --config "$3"
        """, "sh", folder.path("hosts"), sluicePath, folder.path("config.yaml"),
      ])
    let lines = program.wait { () -> [LogLine]? in
      let lines = logLines(program.errorText)
      return lines.contains { $0.message == "ready" } ? lines : nil
    }
    let lookedUp = (lines ?? []).filter { $0.message == "looked up" }
    #expect(lookedUp.map { $0["addresses"] } == ["10.9.8.1", "fd00::6"])
    program.send(SIGTERM)
    #expect(try program.waitForExit() == .code(0))
  }
}
