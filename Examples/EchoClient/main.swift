// SPDX-License-Identifier: Apache-2.0
// Sends each argument as a line and prints what comes back, within five seconds. Usage:
// example-echo-client ADDRESS LINE...

import Addressing
import EventLoop
import Glibc

let arguments = CommandLine.arguments.dropFirst()
guard let address = SocketAddress(arguments.first ?? "") else {
  print("usage: example-echo-client ADDRESS:PORT|unix:/PATH|unix:@NAME LINE...")
  exit(64)
}
let loop = try Loop(LoopOptions(name: "client"))
do {
  try loop.run {
    let deadline = loop.now.advanced(by: 5_000_000_000)
    let stream = try await Stream.connect(to: address, until: deadline)
    defer { stream.close() }
    for line in arguments.dropFirst() {
      try stream.write(Array("\(line)\n".utf8))
      let answer = try await stream.read(through: [10], max: 64 << 10, until: deadline)
      print(String(decoding: answer.dropLast(), as: UTF8.self))
    }
    try await stream.finishWriting(until: deadline)
    let rest = try await stream.readToEnd(max: 1 << 20, until: deadline)
    print("and \(rest.count) bytes more")
  }
} catch {
  print("\(address): \(error)")
  exit(1)
}
