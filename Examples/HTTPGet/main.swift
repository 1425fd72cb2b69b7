// SPDX-License-Identifier: Apache-2.0
// Fetches a page over HTTP/1.1 and prints its status and its body. Usage: example-http-get HOST PORT [PATH].
// The host's addresses are tried as RFC 8305 says; everything must be done within ten seconds.

import EventLoop
import Glibc

let arguments = CommandLine.arguments
guard arguments.count >= 3, let port = UInt16(arguments[2]) else {
  print("usage: example-http-get HOST PORT [PATH]")
  exit(64)
}
let host = arguments[1]
let path = arguments.count > 3 ? arguments[3] : "/"
let loop = try Loop(LoopOptions(name: "http"))
let resolver = HostResolver(pool: BlockingPool(name: "resolver", threadsMax: 1))
do {
  try loop.run {
    let deadline = loop.now.advanced(by: 10_000_000_000)
    let stream = try await Stream.connect(
      toHost: host, port: port, resolver: resolver, until: deadline)
    defer { stream.close() }
    let authority = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    let request = "GET \(path) HTTP/1.1\r\nHost: \(authority)\r\nConnection: close\r\n\r\n"
    try stream.write(Array(request.utf8))

    // The head ends with an empty line; the body, since we have asked for that, with the connection.
    let end = Array("\r\n\r\n".utf8)
    let head = try await stream.read(through: end, max: 64 << 10, until: deadline)
    let body = try await stream.readToEnd(max: 16 << 20, until: deadline)
    print(String(decoding: head.prefix { $0 != 13 }, as: UTF8.self))
    print(String(decoding: body, as: UTF8.self))
  }
} catch {
  print("http://\(host):\(port)\(path): \(error)")
  exit(1)
}
