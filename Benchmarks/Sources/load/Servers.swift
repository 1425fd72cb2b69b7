// The reference servers: one thread each, one epoll, no state beyond what a short write leaves.

import CLoad
import Glibc

private let chunkBytes = 262_144

/// Accepts for ever and hands every readiness of a connection to the server's body, which says
/// what to wait for next, or nil when the connection is over.
private func serve(
  at addresses: [Address], first interest: UInt32, _ body: (Int32) -> UInt32?
) -> Never {
  let poller = Poller()
  var isListener: Set<Int32> = []
  var interests: [UInt32] = []
  for address in addresses {
    let listener = listening(at: address)
    isListener.insert(listener)
    poller.add(listener, readable)
  }
  let listenerMax = isListener.max() ?? -1
  while true {
    poller.wait(milliseconds: nil) { descriptor in
      if descriptor <= listenerMax, isListener.contains(descriptor) {
        while true {
          let accepted = load_accept(descriptor)
          guard accepted >= 0 else { return }
          setNoDelay(accepted)
          while interests.count <= Int(accepted) { interests.append(0) }
          interests[Int(accepted)] = interest
          poller.add(accepted, interest)
        }
      }
      guard let next = body(descriptor) else {
        close(descriptor)
        return
      }
      if next != interests[Int(descriptor)] {
        interests[Int(descriptor)] = next
        poller.change(descriptor, to: next)
      }
    }
  }
}

/// Sends back what comes (RFC 862).
func serveEcho(at addresses: [Address]) -> Never {
  let buffer = UnsafeMutableRawPointer.allocate(byteCount: chunkBytes, alignment: 4096)
  var unsent: [Int32: [UInt8]] = [:]
  serve(at: addresses, first: readable) { descriptor in
    if let rest = unsent.isEmpty ? nil : unsent.removeValue(forKey: descriptor) {
      switch Transfer(send(descriptor, rest, rest.count, Int32(MSG_NOSIGNAL))) {
      case .bytes(let count) where count == rest.count: return readable
      case .bytes(let count): unsent[descriptor] = Array(rest[count...])
      case .wouldBlock: unsent[descriptor] = rest
      case .ended: return nil
      }
      return writable
    }
    let received: Int
    switch Transfer(recv(descriptor, buffer, chunkBytes, 0)) {
    case .bytes(let count): received = count
    case .wouldBlock: return readable
    case .ended: return nil
    }
    var sent = 0
    switch Transfer(send(descriptor, buffer, received, Int32(MSG_NOSIGNAL))) {
    case .bytes(let count): sent = count
    case .wouldBlock: break
    case .ended: return nil
    }
    guard sent < received else { return readable }
    unsent[descriptor] = Array(
      UnsafeRawBufferPointer(start: buffer + sent, count: received - sent))
    return writable
  }
}

/// Reads and forgets (RFC 863). MSG_TRUNC lets the kernel forget without copying, so that the load
/// is not what limits the rate.
func serveSink(at addresses: [Address]) -> Never {
  serve(at: addresses, first: readable) { descriptor in
    switch Transfer(recv(descriptor, nil, 4 * chunkBytes, Int32(MSG_TRUNC))) {
    case .bytes, .wouldBlock: readable
    case .ended: nil
    }
  }
}

/// Sends without end (RFC 864, in zeros).
func serveSource(at addresses: [Address], from origin: Supply.Origin) -> Never {
  let supply = Supply(from: origin)
  serve(at: addresses, first: writable) { descriptor in
    switch supply.send(to: descriptor) {
    case .bytes, .wouldBlock: writable
    case .ended: nil
    }
  }
}

/// Sends without end and forgets what comes: the other end of bulk both ways.
func serveBoth(at addresses: [Address]) -> Never {
  let supply = Supply(from: .memory)
  serve(at: addresses, first: readable | writable) { descriptor in
    if case .ended = Transfer(recv(descriptor, nil, 4 * chunkBytes, Int32(MSG_TRUNC))) {
      return nil
    }
    return switch supply.send(to: descriptor) {
    case .bytes, .wouldBlock: readable | writable
    case .ended: nil
    }
  }
}
