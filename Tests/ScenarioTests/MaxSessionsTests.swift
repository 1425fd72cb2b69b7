// SPDX-License-Identifier: Apache-2.0
// `max_sessions` of the process, of a route, of an endpoint: the bound holds, those above it wait or
// are turned away, and a place that becomes free is used.

import Testing

@Suite("max_sessions")
struct MaxSessionsTests {
  /// Expects that a third client waits until one of two is gone.
  private func expectBound(of proxy: ProxyProcess) throws {
    let address = try proxy.address()
    let first = try Connection(address)
    let second = try Connection(address)
    #expect(try first.echo("1") == "1")
    #expect(try second.echo("2") == "2")
    let third = try Connection(address)
    try third.send("3")
    #expect(proxy.event("accepting pauses")?["cause"]?.contains("max_sessions (2)") == true)
    first.close()
    #expect(try third.receive(1) == "3")
  }

  @Test("The process holds no more sessions, and the next client waits for a place")
  func process() throws {
    try expectBound(
      of: ProxyProcess(
        """
        max_sessions: 2
        routes:
          r: {listen: "127.0.0.1:0", to: "builtin:echo"}
        """))
  }

  @Test("A route holds no more sessions, and the next client waits for a place")
  func route() throws {
    try expectBound(
      of: ProxyProcess(
        """
        routes:
          r: {listen: "127.0.0.1:0", to: "builtin:echo", max_sessions: 2}
        """))
  }

  @Test("A full route does not hold up another")
  func otherRoute() throws {
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: "builtin:echo", max_sessions: 1}
        s: {listen: "127.0.0.1:0", to: "builtin:echo"}
      """)
    let first = try Connection(proxy.address("r"))
    #expect(try first.echo("1") == "1")
    let waiting = try Connection(proxy.address("r"))
    #expect(proxy.event("accepting pauses") != nil)
    #expect(try Connection(proxy.address("s")).ask("other") == "other")
    waiting.close()
  }

  @Test("A client is turned away with a reset when every endpoint is full")
  func endpoint() throws {
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: [{address: "builtin:echo", max_sessions: 1}]}
      """)
    let first = try Connection(proxy.address())
    #expect(try first.echo("1") == "1")
    #expect(try Connection(proxy.address()).isReset())
    let record = try proxy.record()
    #expect(record["end"] == "no_endpoint")
    #expect(record["by"] == "proxy")
    #expect(record["endpoint"] == "-")
  }

  @Test("More sessions than the open-files limit has room for are cut down, and that is said")
  func moreThanPossible() throws {
    let proxy = try ProxyProcess(
      """
      max_sessions: 1000000
      routes:
        r: {listen: "127.0.0.1:0", to: "127.0.0.1:9"}
      """, shell: "ulimit -n 400;")
    let warning = proxy.event("max_sessions is above")
    #expect(warning?["max_sessions"] == "1000000")
    #expect(warning?["open_files"] == "400")
    #expect(proxy.event("limits")?["sessions_max_from"] == "open_files")
  }
}
