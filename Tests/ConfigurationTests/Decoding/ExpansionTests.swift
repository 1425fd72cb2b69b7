// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Configuration

@Suite struct ExpansionTests {
  private func expanded(_ text: String, _ environment: [String: String] = [:]) throws -> String {
    try expandText(text) { environment[$0] }.text
  }

  @Test func variablesDefaultsAndDollars() throws {
    #expect(try expanded("a${B}c", ["B": "x"]) == "axc")
    #expect(try expanded("${B:-d}") == "d")
    #expect(try expanded("${B:-d}", ["B": ""]) == "d")
    #expect(try expanded("${B:-}") == "")
    #expect(try expanded("${B:-d}", ["B": "x"]) == "x")
    #expect(try expanded("$$${B}$${B}", ["B": "$${C}"]) == "$$${C}${B}")
    #expect(try expanded("ü${B_1}é", ["B_1": "ß"]) == "üßé")
  }

  @Test(arguments: ["$", "$A", "${", "${}", "${A", "${1A}", "${A-b}", "${A:b}", "${A b}"])
  func whatIsNoExpansionIsRefused(_ text: String) {
    #expect(throws: ExpansionFailure.self) { try expanded(text, ["A": "x"]) }
  }

  @Test func numbersAndBooleansMayComeFromTheEnvironment() {
    let text = "workers: ${N}\n" + routeFile("tcp: {no_delay: \"${B}\"}")
    let plan = decode(text, ["N": "7", "B": "false"]).plan
    #expect(plan?.workers == .count(7))
    #expect(plan?.routes[0].tcp.noDelay == false)
  }

  @Test(arguments: ["$", #"\x24"#, #"\u0024"#])
  func aDollarIsOneHoweverItIsWritten(_ dollar: String) {
    let plan = decode(routeFile("idle: \"\(dollar){X}\""), ["X": "5s"]).plan
    #expect(plan?.routes[0].idle == .seconds(5))
  }

  @Test func aVariableCannotChangeTheStructure() {
    let found = decode(routeFile("idle: ${X}"), ["X": "5s\n    backlog: 3"])
    #expect(found.plan == nil)
    #expect(found.diagnostics[0].message == "`${X}` holds a control character")
  }

  /// Every place that takes a value gets a secret it must refuse, or that dangles or collides.
  @Test func secretsAreNeverEchoed() {
    let places = [
      "workers", "spin", "max_sessions", "log.level", "log.access", "relay.buffer", "relay.pipes",
      "shutdown.drain", "routes.r.listen", "routes.r.to", "routes.r.idle", "routes.r.tcp.no_delay",
      "upstreams.u.balance", "upstreams.u.source", "upstreams.u.endpoints",
    ]
    let secrets = [
      "hunter2", "hunter2:99999", "[hunter2]:80", "unix:hunter2", "builtin:hunter2", "fd:hunter2",
      "hunter2:80", "5hunter2", "5 hunter2", "http://hunter2", "nhunter2.", "-hunter2 x",
      "*:hunter2",
    ]
    for place in places {
      for secret in secrets {
        var text = ""
        for (depth, part) in place.split(separator: ".").enumerated() {
          text += String(repeating: "  ", count: depth) + part + ":\n"
        }
        text = text.dropLast() + " " + (place.hasSuffix("endpoints") ? "[\"${S}\"]" : "${S}") + "\n"
        let found = report(text, ["S": secret])
        #expect(!found.contains("hunter2"), "\(found)")
      }
    }
    let twice = "routes: {a: {listen: \"${S}\", to: \"h:1\"}, b: {listen: \"${S}\", to: \"h:1\"}}"
    let collision = report(twice, ["S": "10.98.76.54:80"])
    #expect(collision.contains("collides"))
    #expect(!collision.contains("98.76"))
  }
}
