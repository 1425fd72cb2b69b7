// The load generator and the reference servers of the benchmarks. A client prints one JSON line.

import Glibc

let usage = """
  usage: load echo|sink|source --listen ADDRESS[,ADDRESS...]
         load pingpong --to ADDRESS[,...] [--bytes 64] [--connections 32] [--seconds 3]
         load connect  --to ADDRESS[,...] [--bytes 64] [--concurrent 32] [--seconds 3]
         load bulk     --to ADDRESS[,...] [--direction down|up] [--sessions 4] [--seconds 3]
  """

let words = CommandLine.arguments
guard words.count > 1 else { fail("no subcommand\n" + usage, code: 64) }
let rest = words.dropFirst(2)

switch words[1] {
case "echo": serveEcho(at: Arguments(rest, known: ["listen"]).addresses("listen"))
case "sink": serveSink(at: Arguments(rest, known: ["listen"]).addresses("listen"))
case "source": serveSource(at: Arguments(rest, known: ["listen"]).addresses("listen"))
case "pingpong":
  let arguments = Arguments(rest, known: ["to", "bytes", "connections", "seconds"])
  runPingPong(
    to: arguments.addresses("to"), bytes: arguments.count("bytes", default: 64),
    connections: arguments.count("connections", default: 32),
    seconds: arguments.seconds("seconds", default: 3)
  ).printLine()
case "connect":
  let arguments = Arguments(rest, known: ["to", "bytes", "concurrent", "seconds"])
  runConnects(
    to: arguments.addresses("to"), bytes: arguments.count("bytes", default: 64),
    concurrent: arguments.count("concurrent", default: 32),
    seconds: arguments.seconds("seconds", default: 3)
  ).printLine()
case "bulk":
  let arguments = Arguments(rest, known: ["to", "direction", "sessions", "seconds"])
  guard let direction = Direction(rawValue: arguments.text("direction", default: "down")) else {
    fail("--direction is up or down", code: 64)
  }
  runBulk(
    to: arguments.addresses("to"), direction: direction,
    sessions: arguments.count("sessions", default: 4),
    seconds: arguments.seconds("seconds", default: 3)
  ).printLine()
case "--help", "help": print(usage)
default: fail("unknown subcommand \(words[1])\n" + usage, code: 64)
}
