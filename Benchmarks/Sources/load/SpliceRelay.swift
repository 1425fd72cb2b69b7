// The least that a relay of bulk can be: a pipe for each direction, splice in, splice out. No bound,
// no deadline, no record, no choice: what any of these costs a proxy shows beside it.

import CLoad
import Glibc

/// One direction: from a socket through a pipe into the other socket.
private struct Pumping {
  let from: Int32
  let to: Int32
  let pipeIn: Int32
  let pipeOut: Int32
  let capacity: Int64
  var held: Int64 = 0
  var isEnded = false
  var isFinished = false

  init(from: Int32, to: Int32) {
    var ends: [Int32] = [-1, -1]
    capacity = Int64(requireCode(load_pipe(&ends), "pipe2"))
    self.from = from
    self.to = to
    pipeOut = ends[0]
    pipeIn = ends[1]
  }

  enum Outcome {
    case waits, hasMore, failed
  }

  /// Moves what is there, but not for ever.
  mutating func pump() -> Outcome {
    for _ in 0..<8 {
      var progress = false
      if !isEnded && held < capacity {
        let moved = load_splice(from, pipeIn, capacity - held)
        if moved == 0 { isEnded = true }
        if moved > 0 { held += moved }
        if moved < 0 && moved != -Int64(EAGAIN) { return .failed }
        progress = moved > 0
      }
      if held > 0 {
        let moved = load_splice(pipeOut, to, held)
        if moved < 0 && moved != -Int64(EAGAIN) { return .failed }
        if moved > 0 {
          held -= moved
          progress = true
        }
      }
      if isEnded && held == 0 && !isFinished {
        isFinished = true
        shutdown(to, Int32(SHUT_WR))
      }
      if !progress { return .waits }
    }
    return .hasMore
  }

  func closePipe() {
    close(pipeIn)
    close(pipeOut)
  }
}

private struct Relayed {
  var up: Pumping
  var down: Pumping
}

/// Relays every connection to one of the endpoints, in turn.
final class SpliceRelay {
  private let poller = Poller()
  private let listeners: [Int32]
  private let endpoints: [Address]
  // By the client's descriptor; the endpoint's leads there.
  private var sessions: [Int32: Relayed] = [:]
  private var clients: [Int32: Int32] = [:]
  private var unfinished: Set<Int32> = []
  private var accepted = 0

  init(at addresses: [Address], to endpoints: [Address]) {
    self.endpoints = endpoints
    // splice(2) has no flag like MSG_NOSIGNAL, and a client that resets must not end the relay.
    signal(SIGPIPE, SIG_IGN)
    listeners = addresses.map { listening(at: $0) }
    for listener in listeners { poller.add(listener, readable) }
  }

  func run() -> Never {
    while true {
      for client in unfinished { serve(client) }
      poller.wait(nanoseconds: unfinished.isEmpty ? nil : 0) { descriptor in
        if listeners.contains(descriptor) {
          acceptAll(from: descriptor)
        } else if let client = clients[descriptor] {
          serve(client)
        }
      }
    }
  }

  private func acceptAll(from listener: Int32) {
    while true {
      let client = load_accept(listener)
      guard client >= 0 else { return }
      let endpoint = connected(to: endpoints[accepted % endpoints.count])
      accepted += 1
      setNonBlocking(endpoint)
      setNoDelay(client)
      setNoDelay(endpoint)
      sessions[client] = Relayed(
        up: Pumping(from: client, to: endpoint), down: Pumping(from: endpoint, to: client))
      for descriptor in [client, endpoint] {
        clients[descriptor] = client
        poller.add(descriptor, readable | writable | edgeTriggered)
      }
    }
  }

  private func serve(_ client: Int32) {
    unfinished.remove(client)
    guard var session = sessions[client] else { return }
    let up = session.up.pump()
    let down = session.down.pump()
    sessions[client] = session
    let isOver = session.up.isFinished && session.down.isFinished
    if isOver || up == .failed || down == .failed {
      sessions[client] = nil
      clients[client] = nil
      clients[session.up.to] = nil
      session.up.closePipe()
      session.down.closePipe()
      close(session.up.to)
      close(client)
    } else if up == .hasMore || down == .hasMore {
      unfinished.insert(client)
    }
  }
}
