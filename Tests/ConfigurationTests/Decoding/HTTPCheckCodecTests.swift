// SPDX-License-Identifier: Apache-2.0
import Plan
import Testing

@testable import Configuration

private func file(_ http: String) -> String {
  """
  routes: {r: {listen: ":1", to: u}}
  upstreams:
    u: {endpoints: ["h:1"], check: {http: \(http)}}

  """
}

@Suite struct HTTPCheckCodecTests {
  @Test(arguments: [
    ("{url: /x}", "did you mean `path`?"), ("{uri: /x}", "did you mean `path`?"),
    ("{expect: 200}", "did you mean `status`, or `body`?"),
    ("{every: 5s}", "it belongs to `check`, beside `http`"),
    ("{path: health}", "write `/health`"), ("{path: \"http://h/x\"}", "is a URL"),
    ("{path: \"/a b\"}", "a space in a path is `%20`"), ("{path: \"/a#b\"}", "has a fragment"),
    ("{path: /ü}", "percent-encoded"), ("{path: \"/a\\r\\nX: y\"}", "holds a control character"),
    ("{path: \"/\(String(repeating: "p", count: 2048))\"}", "at most 2048 bytes"),
    ("{path: }", "a value is missing here"), ("{path: \"\"}", "is empty"),
    ("{method: get}", "write `GET`"), ("{method: G E T}", "is no HTTP method"),
    ("{method: CONNECT}", "asks for a tunnel"),
    ("{method: \(String(repeating: "M", count: 33))}", "at most 32 bytes"),
    ("{method: HEAD, body: ok}", "the answer to `HEAD` has no body to look in"),
    ("{host: \"http://h/\"}", "is a URL"), ("{host: \"a b\"}", "is no host"),
    ("{host: \"h/x\"}", "is no host"), ("{host: \"::1\"}", "is no host"),
    ("{host: \"[::1\"}", "is no host"), ("{host: \"h:\"}", "is no host"),
    ("{host: \"h:123456\"}", "is no host"), ("{path: \"/%zz\"}", "percent-encoded"),
    ("{path: \"/a\\\"b\"}", "percent-encoded"), ("{path: \"/{id}\"}", "percent-encoded"),
    ("{host: \(String(repeating: "h", count: 256))}", "at most 255 bytes"),
    ("{headers: [a]}", "expected a mapping, found a list"),
    ("{headers: {\"a b\": c}}", "`a b` is no header name"),
    ("{headers: {\"X-A:\": c}}", "`X-A:` is no header name"),
    ("{headers: {\"a\\nb\": c}}", "is no header name"),
    ("{headers: {\(String(repeating: "n", count: 65)): c}}", "is no header name"),
    ("{headers: {X-A: \"a\\r\\nX-B: c\"}}", "holds a control character"),
    ("{headers: {X-A: 5}}", "put it in quotes"), ("{headers: {X-A: }}", "a value is missing here"),
    ("{headers: {X-A: \" b\"}}", "begins or ends with a space"),
    ("{headers: {X-A: \"\(String(repeating: "v", count: 4097))\"}}", "at most 4096 bytes"),
    ("{headers: {Host: a}}", "use the key `host`"),
    ("{headers: {content-length: \"5\"}}", "the request has no body"),
    ("{headers: {Connection: close}}", "says `Connection: close` itself"),
    ("{headers: {X-A: b, x-a: c}}", "the header field `x-a` is already there"),
    ("{status: 600}", "is not from 200 to 599"), ("{status: 100}", "answers begin at 200"),
    ("{status: 2xx}", "write `200-299`"), ("{status: [5XX]}", "write `500-599`"),
    ("{status: ok}", "is no status code"), ("{status: 399-200}", "write `200-399`"),
    ("{status: 200-}", "is no status code"), ("{status: 200-250-299}", "is no status code"),
    ("{status: \"200\"}", "remove the quotes"), ("{status: []}", "at least one item"),
    ("{body: 5}", "put it in quotes"), ("{body: \"a\\0\"}", "holds a control character"),
    ("{body: \(String(repeating: "b", count: 1025))}", "at most 1024 bytes"),
    ("{answer: 1023}", "is too small"), ("{answer: 17MiB}", "is too large"),
  ])
  func slips(_ http: String, _ expected: String) {
    let text = report(file(http))
    #expect(text.contains(expected), "\(text)")
    #expect(text.hasPrefix("config.yaml:3:"), "\(text)")
    #expect(text.contains(": error: "), "\(text)")
  }

  @Test func headersAreBoundedAndKeepTheirOrder() throws {
    func headers(_ count: Int) -> String {
      "{headers: {" + (0..<count).map { "X-\($0): v" }.joined(separator: ", ") + "}}"
    }
    #expect(
      messages(file(headers(33))) == ["there are 33 header fields here, at most 32 are accepted"])
    let plan = try #require(decode(file(headers(32))).plan)
    guard case .http(let http) = plan.upstreams[0].check?.kind else {
      Issue.record("no HTTP check")
      return
    }
    #expect(http.headers.map(\.name) == (0..<32).map { "X-\($0)" })
  }

  @Test func aSecretInAHeaderIsNeverShown() throws {
    let text = file("{headers: {Authorization: \"Bearer ${TOKEN}\", X-A: \"${TOKEN}\"}}")
    let decoded = decode(text, ["TOKEN": "s3cret"])
    #expect(decoded.report == "")
    guard case .http(let http) = decoded.plan?.upstreams[0].check?.kind else {
      Issue.record("no HTTP check")
      return
    }
    #expect(http.headers.map(\.value) == ["Bearer s3cret", "s3cret"])
    let refused = report(text, ["TOKEN": "s3cret\n"])
    #expect(refused.contains("holds a control character"), "\(refused)")
    #expect(!refused.contains("s3cret"), "\(refused)")
  }

  @Test(arguments: ["/", "/a/b?c=d&e=%20", "/$$x", "/~user;v=1,2"])
  func pathsAreTakenAsTheyAre(_ path: String) throws {
    let decoded = decode(file("{path: \"\(path)\"}"))
    #expect(decoded.report == "")
    guard case .http(let http) = decoded.plan?.upstreams[0].check?.kind else {
      Issue.record("no HTTP check")
      return
    }
    #expect(http.path == (path == "/$$x" ? "/$x" : path))
  }
}
