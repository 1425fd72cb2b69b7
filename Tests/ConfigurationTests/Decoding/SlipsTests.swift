// SPDX-License-Identifier: Apache-2.0
// The slips that people make, and that the answer names what was probably meant. Each row: what
// the file says after `listen:` (or as a setting), and a part of the report.

import Testing

@testable import Configuration

@Suite struct SlipsTests {
  @Test(arguments: [
    ("[::]:80", "write \"[::]:80\""), ("[:80, :81]", "write \":80\""),
    ("[[::1]:80]", "write \"[::1]:80\""), ("[127.0.0.1:80, [::1]:80]", "write \"[::1]:80\""),
    ("[${HOST}:80]", "write \"${HOST}:80\""), ("*:80", "write `:PORT`"),
    ("\"*:80\"", "write `:80`"), ("80", "write `:80`"), ("localhost:80", "needs an IP address"),
    ("10.0.0.1", "has no port"), (":99999", "a port that is not from 0 to 65535"),
    (":080", "leading zero"), ("\"::1:80\"", "write an IPv6 address like `[::1]:80`"),
    ("http://10.0.0.1:80", "is a URL"), ("10.0.0.256:80", "is no IPv4 address"),
    ("\"[::g]:80\"", "is no IPv6 address"), ("\"[::1%eth0]:80\"", "number of an interface"),
    ("unix:relative", "has no absolute path"), ("fd:x", "is no descriptor"),
    ("fd:0", "is a standard stream"), ("builtin:echo", "is an endpoint"),
    ("", "a value is missing here"), ("{a: b}", "expected a single value or a list"),
    ("[]", "at least one item is needed"), ("\"\"", "is empty"), ("@x", "put the value in quotes"),
    ("\":80", "a quote opened in line 3 is perhaps not closed"),
    ("[\":80\", \":81]", "a quote opened in line 3 is perhaps not closed"),
    ("\":80, to: \":81\"", "this does not fit"),
    ("{x: \":80, to: \":81\"}", "the quote in column 17 closed too late"),
  ])
  func inListen(_ value: String, _ expected: String) {
    let text = report(listenFile(value), ["HOST": "h"])
    #expect(text.contains(expected), "\(text)")
    #expect(text.hasPrefix("config.yaml:3:"), "\(text)")
  }

  @Test(arguments: [
    ("idle: 30", "write `30s`"), ("idle: 5 s", "write `5s`"), ("idle: 1d", "a day is `24h`"),
    ("idle: 1.5s", "write `1500ms`"), ("idle: 30m1h", "the larger unit comes first"),
    ("idle: 5sec", "write `5s`"), ("idle: -5s", "never negative"), ("idle: 05s", "leading zero"),
    ("idle: 99999999999999999999s", "is too long"), ("idle: 9999999h", "is too long"),
    ("idle: 0s", "is too short"), ("idle: of", "did you mean `off`?"), ("idle:", "is missing"),
    ("flush_timeout: off", "accepted: a duration from `100ms` to `10m`"),
    ("max_sessions: 012", "write 12"), ("max_sessions: \"5\"", "remove the quotes"),
    ("max_sessions: 10000001", "is too large"),
    ("max_sessions: 0", "is too small"), ("max_sessions: 1_000", "is no whole number"),
    ("max_sessions: 99999999999999999999", "is too large"), ("max_sessions: -1", "too small"),
    ("tcp: {no_delay: yes}", "write `true`"), ("tcp: {no_delay: off}", "write `false`"),
    ("tcp: {keepalive: true}", "is no duration"), ("idel: 5s", "did you mean `idle`?"),
    ("half-close-timeout: 5s", "did you mean `half_close_timeout`?"),
    ("check: {}", "belongs to an upstream"),
    ("tcp: {<<: 5}", "`<<` merges a mapping"), ("log: {access: [star]}", "did you mean `start`?"),
    ("log: {access: end}", "write `[end]`"), ("idle: !!int 5", "the tag `!!int`"),
    ("log: {access: end}", "accepted: `off`, or a list of these: `start`, `end`, or a mapping"),
    ("log: {access: \"start, end\"}", "write `[start, end]`"),
    ("log: {access: every 5m}", "write `[every: 5m]`"),
    ("log: {access: [every 5m]}", "write `every: 5m`"),
    ("log: {access: [every:90s]}", "write `every: 90s`"),
    ("log: {access: [every]}", "or a mapping with the key `every`"),
    ("log: {access: [end, start, end]}", "`end` stands here a second time"),
    ("log: {access: [every: 5m, every: 6m]}", "`every` stands here a second time"),
    ("log: {access: [end, start, end]}", "the first is in line 5, column 20"),
    ("idle: 0", "write `off` (for ever)"), ("idle: 0s", "write `off` (for ever)"),
    ("idle: never", "write `off` (for ever)"), ("idle: No", "write `off` (for ever)"),
    ("idle: false", "write `off` (for ever)"), ("idle: none", "write `off` (for ever)"),
    ("flush_timeout: 0", "write it with its unit"), ("tcp: {keepalive: 0}", "write `off`"),
    ("tcp: {unsent: 0}", "write `off` (the kernel's own)"),
    ("tcp: {keepalive: 1999ms}", "is no whole number of seconds"),
    ("tcp: {keepalive: 1999ms}", "write `1s` or `2s`"),
    ("tcp: {keepalive: 32766s1us}", "write `32766s` or `32767s`"),
    ("tcp: {user_timeout: 1500us}", "write `1ms` or `2ms`"),
    ("idle: *x", "has no anchor before it"), ("? [a]\n    : b", "a key must be text"),
    ("idle: 5s\n    idle: 6s", "stands here a second time"), ("idle: 5s\n\tx: 1", "use spaces"),
    ("idle: a: b", "a second `: ` cannot stand here"), ("idle: \"5s", "is never closed"),
    ("backlog\n    idle: 5s", "a `:` is missing"), ("idle: $HOME", "write `${HOME}`"),
    ("idle: ${HOME", "a `${` without its `}`"), ("idle: ${NOPE}", "`NOPE` is not set"),
    ("idle: ${1}", "is no expansion"), ("tcp: {keepalive: ${A}}", "write \"${A}\""),
    ("tcp: {keepalive: ${A}s, no_delay: true}", "write \"${A}s\""),
  ])
  func inSettings(_ settings: String, _ expected: String) {
    let text = report(routeFile(settings))
    #expect(text.contains(expected), "\(text)")
    #expect(text.contains(": error: "), "\(text)")
  }

  @Test(arguments: [
    "balance", "slow_start", "spill_over", "connect", "attempt", "source", "avoid_time_wait",
    "resolve",
    "check", "outlier", "panic", "quorum", "retry", "queue", "hold", "on_down",
  ])
  func keysOfAnUpstreamAreToldOnARoute(_ key: String) {
    #expect(
      report(routeFile("\(key): 5")).contains(
        "it belongs to an upstream: name one under `upstreams:`, or use `defaults.upstream`"))
    let shared = report("defaults: {route: {\(key): 5}}\n" + routeFile("idle: 5s"))
    #expect(shared.contains("it belongs to `defaults.upstream`"), "\(shared)")
  }

  @Test(arguments: [
    "idle", "half_close_timeout", "flush_timeout", "drop_silent_clients", "backlog", "hash_key",
    "log",
  ])
  func keysOfARouteAreToldOnAnUpstream(_ key: String) {
    let route = "routes: {r: {listen: \":1\", to: u}}\n"
    #expect(
      report(route + "upstreams: {u: {endpoints: [\"h:1\"], \(key): 5}}").contains(
        "it belongs to a route"))
    let shared = report("defaults: {upstream: {\(key): 5}}\n" + routeFile("idle: 5s"))
    #expect(shared.contains("it belongs to `defaults.route`"), "\(shared)")
  }

  @Test(arguments: ["1s", "1000ms", "2s", "1h30m"])
  func wholeSecondsAreAccepted(_ duration: String) {
    #expect(report(routeFile("tcp: {keepalive: \(duration), user_timeout: 1ms}")) == "")
  }

  @Test func aQuoteThatIsNotClosedIsShownWhereItOpens() {
    let text = report(
      """
      routes: {r: {listen: ":80", to: ["h:1", "h:2}},
        q: {listen: ":81", to: "h:1"}}
      """)
    #expect(
      text.hasPrefix("config.yaml:1:41: error: a quote opened in line 1 is perhaps"), "\(text)")
    #expect(!text.contains("has to be put in quotes"), "\(text)")
  }

  @Test(arguments: [
    ("listen: 'it''s\n    to: 'h:1'", "a quote opened in line 3"),
    ("listen: 'it''s ':80'", "the quote in column 13 closed too late"),
    ("{\"listen\":\":80,\n    \"to\":\"h:1\"}", "a quote opened in line 3"),
    ("to: h  # it's\n    x: 'y\n    z: 'a'", "a quote opened in line 4"),
    ("to: it's\n    x: \"y \\\" 'z\n    z: \"a\"", "a quote opened in line 4"),
    ("to: \"a\n      b\" c", "a quote opened in line 3"),
  ])
  func quotesAreMatchedAsInYAML(_ lines: String, _ expected: String) {
    let text = report("routes:\n  r:\n    \(lines)\n")
    #expect(text.contains(expected), "\(text)")
  }

  @Test(arguments: [
    ("listen:\":1\"\n    to: \"h:1\"", "write `listen: \":1\"`"),
    ("listen::80\n    to: \"h:1\"", "write `listen: :80`"),
    ("listen::80  # all\n\n    to: \"h:1\"", "write `listen: :80`"),
    ("listen::80\n    idle:5s\n    to: \"h:1\"", "write `listen: :80`"),
    ("listen:80\n    idle:5s", "a space is missing after `listen:`"),
    ("listen:80", "a space is missing after `listen:`"),
    ("{listen::80, to: \"h:1\"}", "a space is missing after `listen:`"),
    ("- listen:\":80\"\n      to: x", "write `listen: \":80\"`"),
  ])
  func aColonNeedsASpace(_ lines: String, _ expected: String) {
    let text = report("routes:\n  r:\n    \(lines)\n")
    #expect(text.contains(expected), "\(text)")
    #expect(text.hasPrefix("config.yaml:3:"), "\(text)")
    #expect(!text.contains("is missing\n"), "\(text)")
  }

  @Test func addressesInListsAreNotKeys() {
    let text = report("upstreams:\n  u:\n    endpoints:\n      - h:1\n        weight: 2\n")
    #expect(!text.contains("a space is missing"), "\(text)")
  }

  @Test(arguments: [
    ("5", "is a number for YAML"), ("db:x", "no port number"), ("\"db:0\"", "from 1 to 65535"),
    (":80", "has no host"), ("builtin:ecko", "did you mean `builtin:echo`?"),
    ("fd:3", "not an endpoint"), ("a b", "neither the name"), ("1.2.3:80", "neither an IPv4"),
    ("[\"a..b:1\"]", "no valid host name"), ("[{adress: \"h:1\"}]", "did you mean `address`?"),
    ("[{address: \"h:1\", weight: 300}]", "is too large"), ("[{}]", "`address` is missing"),
    ("\"unix:/\"", "has no path"), ("true", "put it in quotes"),
    ("[\"db\"]", "for an upstream of that name, write `to: db`; for a host, `db:PORT`"),
    ("[10.0.0.1]", "write `10.0.0.1:PORT`"), ("{address: \"h:1\"}", "write a list: `[{…}]`"),
    ("{address: \"h:1\"}", "accepted: the name of an upstream, or"),
  ])
  func inTo(_ value: String, _ expected: String) {
    let text = report("routes:\n  r:\n    listen: \":1\"\n    to: \(value)\n")
    #expect(text.contains(expected), "\(text)")
  }

  @Test(arguments: [
    ("max_sessions: 10000001", "from 1 to 10000000"), ("max_sessions: 10000001", "is too large"),
    ("relay: {buffer: 1KiB}", "is too small"), ("relay: {buffer: 64K}", "write `64KiB`"),
    ("relay: {buffer: 64kib}", "write `64KiB`"), ("relay: {buffer: 64 KiB}", "write `64KiB`"),
    ("relay: {buffer: 99999999999999999999GiB}", "is too large"), ("workers: 0", "too small"),
    ("workers: aut", "did you mean `auto`?"), ("spin: 11ms", "is too long"),
    ("log: {access: stdot}", "did you mean `stdout`?"), ("log: {access: a/}", "is a directory"),
    ("log: {level: warn}", "did you mean `warning`?"), ("upstreams: []", "expected a mapping"),

    ("upstreams: {u: {endpoints: [\"h:1\"], source: \"10.0.0.1:5\"}}", "no port"),
    ("upstreams: {u: {endpoints: \"10.0.0.1:80\"}}", "write a list: `[\"10.0.0.1:80\"]`"),
    ("upstreams: {u: {endpoints: \"10.0.0.1:80\"}}", "accepted: a list of these: `IP:port`"),
    ("upstreams: {\"a b\": {endpoints: [\"h:1\"]}}", "`a b` is no name"),
    ("rotes: {}", "did you mean `routes`?"), ("log:", "a value is missing here"),
    ("spin: 5", "write it with its unit, like `500us`"), ("spin: 0", "write `off`"),
    ("shutdown: {drain: none}", "write `off` (for ever), or `0s`"),
    ("shutdown: {drain: 0}", "write `0s`"),
    ("upstreams: {u: {endpoints: [\"h:1\"], connect: 0}}", "like `250ms`"),
  ])
  func atTheTop(_ line: String, _ expected: String) {
    let text = report("routes: {r: {listen: \":1\", to: \"h:1\"}}\n\(line)\n")
    #expect(text.contains(expected), "\(text)")
    #expect(text.hasPrefix("config.yaml:2:"), "\(text)")
  }
}
