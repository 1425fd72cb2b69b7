// The load generator and the reference servers of the benchmarks. A client prints one JSON line.

import Glibc

let usage = """
  usage: load echo     --listen ADDRESS[,ADDRESS...] [--delay SECONDS]
         load sink|source|file-source|both --listen ADDRESS[,...]
         load splice   --listen ADDRESS[,...] --to ADDRESS[,...]
         load pingpong --to ADDRESS[,...] [--bytes 64] [--connections 32] [--seconds 3]
         load connect  --to ADDRESS[,...] [--bytes 64] [--concurrent 32] [--seconds 3]
         load bulk     --to ADDRESS[,...] [--direction down|up|both] [--from memory|file]
                       [--sessions 4] [--seconds 3]
         load paced    --to ADDRESS[,...] --rate PER_SECOND [--bytes 64] [--connections 32] [--seconds 3]
         load hold     --to ADDRESS[,...] --sessions COUNT     (until standard input ends)
  """

let words = CommandLine.arguments
guard words.count > 1 else { fail("no subcommand\n" + usage, code: 64) }
let rest = words.dropFirst(2)

switch words[1] {
case "echo":
  let arguments = Arguments(rest, known: ["listen", "delay"])
  let delay = arguments.number("delay", default: 0)
  if delay > 0 {
    serveDelayedEcho(at: arguments.addresses("listen"), nanoseconds: UInt64(delay * 1e9))
  }
  serveEcho(at: arguments.addresses("listen"))
case "both": serveBoth(at: Arguments(rest, known: ["listen"]).addresses("listen"))
case "sink": serveSink(at: Arguments(rest, known: ["listen"]).addresses("listen"))
case "source":
  serveSource(at: Arguments(rest, known: ["listen"]).addresses("listen"), from: .memory)
case "file-source":
  serveSource(at: Arguments(rest, known: ["listen"]).addresses("listen"), from: .file)
case "splice":
  let arguments = Arguments(rest, known: ["listen", "to"])
  SpliceRelay(at: arguments.addresses("listen"), to: arguments.addresses("to")).run()
case "pingpong":
  let arguments = Arguments(rest, known: ["to", "bytes", "connections", "seconds"])
  runPingPong(
    to: arguments.addresses("to"), bytes: arguments.count("bytes", default: 64),
    connections: arguments.count("connections", default: 32),
    seconds: arguments.number("seconds", default: 3)
  ).printLine()
case "connect":
  let arguments = Arguments(rest, known: ["to", "bytes", "concurrent", "seconds"])
  runConnects(
    to: arguments.addresses("to"), bytes: arguments.count("bytes", default: 64),
    concurrent: arguments.count("concurrent", default: 32),
    seconds: arguments.number("seconds", default: 3)
  ).printLine()
case "bulk":
  let arguments = Arguments(rest, known: ["to", "direction", "from", "sessions", "seconds"])
  guard let direction = Direction(rawValue: arguments.text("direction", default: "down")) else {
    fail("--direction is up, down or both", code: 64)
  }
  guard let origin = Supply.Origin(rawValue: arguments.text("from", default: "memory")) else {
    fail("--from is memory or file", code: 64)
  }
  runBulk(
    to: arguments.addresses("to"), direction: direction, from: origin,
    sessions: arguments.count("sessions", default: 4),
    seconds: arguments.number("seconds", default: 3)
  ).printLine()
case "paced":
  let arguments = Arguments(rest, known: ["to", "rate", "bytes", "connections", "seconds"])
  let rate = arguments.number("rate", default: 0)
  if rate == 0 { fail("--rate is needed", code: 64) }
  runPaced(
    to: arguments.addresses("to"), bytes: arguments.count("bytes", default: 64),
    connections: arguments.count("connections", default: 32), perSecond: rate,
    seconds: arguments.number("seconds", default: 3)
  ).printLine()
case "hold":
  let arguments = Arguments(rest, known: ["to", "sessions"])
  holdSessions(
    to: arguments.addresses("to"), count: arguments.count("sessions", default: 1_000))
case "--help", "help": print(usage)
default: fail("unknown subcommand \(words[1])\n" + usage, code: 64)
}
