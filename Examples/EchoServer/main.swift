// SPDX-License-Identifier: Apache-2.0
// Sends back whatever it gets (RFC 862) until it is told to end, by Ctrl-C for example. Usage:
// example-echo-server [ADDRESS]; the address is 127.0.0.1:7000 unless another is given, like [::1]:0 or
// unix:/tmp/echo.sock. Port 0 is any free one; which, it says.

import Addressing
import EventLoop
import Glibc

@Sendable func echo(_ stream: Stream) async throws {
  defer { stream.close() }
  while true {
    let bytes = try await stream.read()
    if bytes.isEmpty { return }
    try stream.write(bytes)
    // A peer that sends and does not read must not fill our memory.
    try await stream.drain()
  }
}

guard let address = SocketAddress(CommandLine.arguments.dropFirst().first ?? "127.0.0.1:7000")
else {
  print("usage: example-echo-server [ADDRESS:PORT | unix:/PATH | unix:@NAME]")
  exit(64)
}
SignalNumber.block([.interrupt, .terminate])
let loop = try Loop(LoopOptions(name: "echo"))
try loop.run {
  let listener = try StreamListener(at: address, backlog: 1024)
  print("listening at \(listener.address)")
  // Whoever started this may read it through a pipe.
  fflush(nil)
  loop.spawn(name: "accept") {
    for try await stream in listener.connections {
      loop.spawn(name: "echo to \(stream.peerAddress?.description ?? "a client")") {
        try await echo(stream)
      }
    }
  }
  for await signal in try loop.signals([.interrupt, .terminate]) {
    print("ends, because of \(signal)")
    break
  }
}
