// SPDX-License-Identifier: Apache-2.0
// That no report shows a password or what a check sends, whatever is wrong with the file.

import Testing

@testable import Configuration

private func file(_ check: String) -> String {
  """
  routes: {r: {listen: ":1", to: u}}
  upstreams: {u: {endpoints: ["h:1"], check: \(check)}}

  """
}

/// A file with lines of a block mapping below `check:`.
private func blockFile(_ lines: String) -> String {
  "routes: {r: {listen: \":1\", to: u}}\nupstreams:\n  u:\n    endpoints: [\"h:1\"]\n    check:\n"
    + lines + "\n"
}

@Suite struct SecretHidingTests {
  @Test(arguments: [
    "{redis: {password: hunter2, role: x}}", "{redis: {role: x, password: \"hunter2\"}}",
    "{redis: {password: 'hunter2'}, every: 2}", "{redis: {password:hunter2}}",
    "{mysql: {password: hunter2}}", "{redis: {\"password\": \"hunter2\"}, x: 1}",
    "{redis: {password: [hunter2]}}", "{redis: {password: \"a\\\"hunter2\", role: x}}",
    "{redis: {password: \"hunter2\\u0001\"}}", "{redis: {password: [x, hunter2, hunter2]}}",
    "{redis: {password: {hunter2}}}", "{redis: {password: {hunter2: hunter2}}}",
    "{redis: {password: \"x$hunter2\"}}", "{redis: {password: \"abc${X:hunter2}\"}}",
    "{redis: {password: \"abc${hunter2}\"}}", "{redis: {password: \"${hunter2\"}}",
    "{redis: {role: x, password: \"${P:-hunter2}\"}}", "{redis: {password: ${P:-hunter2}}}",
    "{redis: {password: *hunter2}}", "{redis: {password: !hunter2 x}}",
    "{redis: {password: &hunter2 }}",
    "{redis: {password: hunter2, password: hunter2}}", "{redis: {pasword: hunter2}}",
    "{redis: {Password: hunter2}}", "{redis: {passwd: hunter2}}", "{redis: {password: \"hunter2}}",
    "{redis: {role: x, password: hunter2}", "{redis: password:hunter2}", "password:hunter2",
    "{exchange: [{send: \"AUTH hunter2\\r\\n\"}], x: 1}", "{exchange: [{send: \"AUTH hunter2\"}]}",
    "{exchange: [{send: {text: hunter2, x: 1}}]}", "{exchange: [{send: {text hunter2}}]}",
    "{exchange: [{send: {hex: hunter2}}]}", "{exchange: [{send: [hunter2]}]}",
    "{exchange: [{send:hunter2}]}", "{exchange: [{send: \"$hunter2\"}]}",
    "{http: {headers: {Authorization: \"Bearer hunter2\"}}, x: 1}",
    "{http: {headers: {A: \" hunter2\"}}}", "{http: {headers: {A: \"hunter2 \"}}}",
    "{http: {headers: {Authorization:hunter2}}}", "{http: {headers: [A: hunter2]}}",
    "{http: {headers: \"A: hunter2\"}}", "{http: {headers: {A: \"${T:hunter2}\"}}}",
    "{http: {headers: {A: \"${T:-hunter2}\", B: }}}", "{http: {headers: {A: hunter2}}",
  ])
  func noReportShowsASecret(_ check: String) {
    let text = report(file(check))
    #expect(text.contains("error: ") || text.contains("warning: "), "\(text)")
    #expect(!text.contains("hunter2"), "\(text)")
  }

  @Test func aDollarInAPasswordShowsNothingOfIt() {
    let text = report(file("{redis: {password: \"hun$ter2\"}}"))
    #expect(text.contains("a `$` that starts nothing"), "\(text)")
    #expect(text.contains("for a dollar, write `$$`"), "\(text)")
    #expect(!text.contains("ter2") && !text.contains("hun"), "\(text)")
  }

  @Test(arguments: [
    "      redis:\n        password: hunter2, x}\n        x: 1",
    "      redis:\n        password: >-\n          hunter2\n          hunter2\n        x: 1",
    "      redis:\n        x: 1\n        password:\n          hunter2",
    "      redis:\n        password:hunter2\n        role: master",
    "      redis:\n        password:\"hunter2\"\n        role: master",
    "      redis:\n        password: \"hunter2\n        role: master",
    "      redis:\n        password: @hunter2",
    "      redis:\n        password:\n          - hunter2: [\n",
    "      redis:\n        password: hunter2: x\n",
    "      http:\n        headers:\n          A: hunter2\n          B: \"\n          A: hunter2",
    "      http:\n        headers: {A: hunter2,\n          B: hunter2\n    x: 1",
    "      exchange:\n        - send: |\n            hunter2\n          expect: x",
    "      exchange:\n        - {send: \"hunter2\n            hunter2\", expect: x}",
  ])
  func norAcrossLines(_ lines: String) {
    let text = report(blockFile(lines))
    #expect(text.contains("error: "), "\(text)")
    #expect(!text.contains("hunter2"), "\(text)")
  }

  @Test func aSecretBehindAnAliasIsHiddenWhereItStands() {
    let anchored = "x-secret: &p [hunter2]\n" + file("{redis: {password: *p}}")
    #expect(report(anchored).hasPrefix("config.yaml:1:"))
    #expect(!report(anchored).contains("hunter2"), "\(report(anchored))")
  }

  @Test func namesOfVariablesAreShownWhereTheyAreNoPartOfIt() {
    let whole = report(file("{redis: {password: \"${REDIS_PASSWORD}\"}}"))
    #expect(whole.contains("the environment variable `REDIS_PASSWORD` is not set"), "\(whole)")
    #expect(whole.contains("password: \"${REDIS_PASSWORD}\""), "\(whole)")
    let header = report(file("{http: {headers: {A: \"Bearer ${TOKEN}\"}}}"))
    #expect(header.contains("the environment variable `TOKEN` is not set"), "\(header)")
    #expect(!header.contains("Bearer"), "\(header)")
  }

  @Test func whatIsLookedForIsShown() {
    #expect(report(file("{exchange: [{expect: here}], x: 1}")).contains("expect: here"))
  }

  @Test func aHostMayBeCalledLikeAKey() {
    #expect(report(file("{tcp: {}}").replacing("h:1", with: "send:80")) == "")
    #expect(report("routes: {r: {listen: \"send:80\", to: x}}").contains("`send:80`"))
  }

  @Test func whatIsHiddenKeepsItsPlace() {
    func hidden(_ line: String, _ start: Int, _ end: Int) -> String {
      let range = SourceRange(start: Mark(line: 1, column: start), end: Mark(line: 1, column: end))
      return hiding([range], in: [line])[0]
    }
    #expect(hidden("  password: abc # why", 11, 16) == "  password: ••• # why")
    #expect(hidden("{password: \"a,b\", x: 1}", 10, 17) == "{password: \"•••\", x: 1}")
    #expect(hidden("password: ${NAME}", 9, 18) == "password: ${NAME}")
    #expect(hidden("password: ${A:-b}, c", 9, 18) == "password: ${A:-•}, c")
    #expect(hidden("password: ${A}${B}", 9, 19) == "password: ${•••••}")
    #expect(hidden("a", 5, 9) == "a")
    #expect(
      hidingSecrets(in: ["the password is", "password:"]) == ["the password is", "password:"])
    #expect(hidingSecrets(in: ["password: \"open"]) == ["password: \"••••"])
    #expect(
      hidingSecrets(in: ["- send: x", "  expect: y", "headers:", "  A: b", "to: c"])
        == ["- send: •", "  expect: y", "headers:", "  ••••", "to: c"])
  }
}

extension String {
  fileprivate func replacing(_ old: String, with new: String) -> String {
    guard let range = range(of: old) else { return self }
    return self[..<range.lowerBound] + new + self[range.upperBound...]
  }
}
