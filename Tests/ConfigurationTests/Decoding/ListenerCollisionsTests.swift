// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Configuration

@Suite struct ListenerCollisionsTests {
  private func collides(_ first: String, _ second: String) -> Bool {
    let found = messages(
      """
      routes:
        a: {listen: "\(first)", to: "h:1"}
        b: {listen: "\(second)", to: "h:1"}
      """)
    #expect(found.count <= 1, "\(found)")
    return found.contains("`\(second)` collides with `\(first)` of the route `a`")
  }

  @Test(arguments: [
    (":80", ":80"), (":80", "0.0.0.0:80"), ("[::]:80", ":80"), ("10.0.0.1:80", "0.0.0.0:80"),
    ("0.0.0.0:80", "10.0.0.1:80"), ("10.0.0.1:80", "10.0.0.1:80"), ("[::1]:80", ":80"),
    ("[::ffff:10.0.0.1]:80", "10.0.0.1:80"), ("unix:/a", "unix:/a"), ("unix:@a", "unix:@a"),
    ("fd:3", "fd:3"), ("[::1]:80", "[0:0::1]:80"), ("unix:/a/b", "unix://a///b"),
  ])
  func theseCollide(_ first: String, _ second: String) {
    #expect(collides(first, second))
  }

  @Test(arguments: [
    (":80", ":81"), ("0.0.0.0:80", "[::]:80"), ("10.0.0.1:80", "10.0.0.2:80"), (":0", ":0"),
    ("127.0.0.1:0", "127.0.0.1:0"), ("unix:/a", "unix:@a"), ("fd:3", "fd:4"),
    ("[fe80::1%1]:80", "[fe80::1%2]:80"),
  ])
  func theseDoNot(_ first: String, _ second: String) {
    #expect(!collides(first, second))
  }

  @Test func aListOfOneRouteMayCollideWithItself() {
    #expect(
      messages(listenFile("[\":80\", \"[::]:80\"]"))
        == ["`[::]:80` collides with `:80` of the route `r`"])
  }
}
