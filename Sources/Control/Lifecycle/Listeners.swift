// SPDX-License-Identifier: Apache-2.0
// The listening sockets of the process: opened before any worker runs, shared by all of them, closed
// when the last has let go.

import Addressing
import DataPlane
import Glibc
import Plan
import Reactor

/// The owner of all listening sockets.
final class Listeners {
  /// What workers see of them, in the order of the plan.
  private(set) var all: [Listener] = []
  /// Their files in the file system.
  private var sockets: [OpenSocket] = []

  private final class OpenSocket {
    let socket: ListeningSocket

    init(_ socket: consuming ListeningSocket) {
      self.socket = socket
    }
  }

  /// The descriptors that a service manager handed over and no route listens at.
  let unused: [Int32]

  /// Opens all listeners of a plan. Throws everything that fails, not only the first.
  init(_ plan: ProxyPlan, activation: SocketActivation) throws(StartFailure) {
    var reasons: [String] = []
    let inherited = plan.routes.flatMap(\.listen).compactMap { address in
      if case .inherited(let descriptor) = address { descriptor } else { nil }
    }
    unused = activation.descriptors.filter { !inherited.contains($0) }
    // Before any socket of our own could have such a number.
    let sound = Set(inherited.filter(isSocket))
    for (position, route) in plan.routes.enumerated() {
      for address in route.listen {
        do throws(ListeningSocket.Failure) {
          if case .inherited(let descriptor) = address, !sound.contains(descriptor) {
            throw ListeningSocket.Failure(
              action: "taking over", errno: nil,
              advice: "the parent process passed no socket as descriptor \(descriptor)")
          }
          let socket = OpenSocket(try Listeners.open(address, route))
          all.append(
            Listener(
              descriptor: socket.socket.rawValue,
              name: Listeners.name(address, socket.socket.address), route: RouteIndex(position)))
          sockets.append(socket)
        } catch {
          reasons.append("route \(route.name) cannot listen at \(address): \(error)")
        }
      }
    }
    guard reasons.isEmpty else { throw StartFailure(reasons) }
  }

  private static func open(
    _ address: ListenAddress, _ route: RoutePlan
  ) throws(ListeningSocket.Failure) -> ListeningSocket {
    let options = StreamOptions(route.tcp)
    switch address {
    case .socket(let address):
      return try ListeningSocket(at: address, backlog: route.backlog, options: options)
    case .port(let port):
      return try ListeningSocket(port: port, backlog: route.backlog, options: options)
    case .inherited(let descriptor):
      return try ListeningSocket(inherited: descriptor, backlog: route.backlog, options: options)
    }
  }

  /// What people know it by: the configured text, with the port that the kernel chose for 0.
  private static func name(_ address: ListenAddress, _ bound: SocketAddress?) -> String {
    switch address {
    case .socket(let wanted): (wanted.port == 0 ? bound : nil)?.description ?? wanted.description
    case .port(let port): ":\(port == 0 ? bound?.port ?? 0 : port)"
    case .inherited: bound.map { "\(address)=\($0)" } ?? "\(address)"
    }
  }

  deinit {
    close()
  }

  /// Closes all sockets; what still waits in their queues is reset. No worker may watch them.
  func close() {
    for socket in sockets { socket.socket.removeOwnedPath() }
    sockets = []
  }
}

/// Whether a number is that of an open socket.
private func isSocket(_ descriptor: Int32) -> Bool {
  var status = stat()
  return fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
}
