// SPDX-License-Identifier: Apache-2.0
// The listening sockets of the process: opened before any worker runs, shared by all of them, kept
// from plan to plan where the address is the same, closed when the last worker has let go.
//
// A plan's listeners are prepared first, which opens those that are new and changes nothing else: if
// one of them cannot be had, or anything else of the plan, what was prepared is dropped and nobody
// has noticed. Only `commit` makes them the listeners of the process.

import Addressing
import DataPlane
import Glibc
import Plan
import Reactor

/// What a listener is recognised by.
struct ListenerKey: Hashable {
  /// The address as configured.
  let address: ListenAddress
  /// Tells those apart whose port the kernel chooses.
  let ordinal: Int
}

/// A listener of a plan, whose socket is open.
struct OpenListener: Equatable {
  let key: ListenerKey
  /// The socket's number, and what tells it from others that had the same number before.
  let descriptor: CInt
  let generation: UInt32
  /// What people know it by: the configured text, with the port that the kernel chose for 0.
  let name: String
  /// The position of its route in the plan.
  let route: Int
}

/// A plan's listeners, opened but not yet those of the process. Dropping them closes what was opened
/// for them.
final class PreparedListeners {
  /// In the order of the plan.
  fileprivate(set) var all: [OpenListener] = []
  /// What the plan asks for, and the socket: held here, so that one that is leaving stays open.
  fileprivate var sockets: [ListenerKey: (socket: OpenSocket, settings: OpenSocket.Settings)] = [:]
  fileprivate var opened: [OpenSocket] = []

  fileprivate init() {}

  deinit {
    // What somebody else has opened cannot be opened again.
    for socket in opened where socket.isInherited { socket.giveUp() }
  }
}

/// A socket, and the file in the file system that it may have. Dropping it closes and removes both.
private final class OpenSocket {
  struct Settings: Equatable {
    let route: String
    let backlog: Int
    let options: StreamOptions

    init(_ route: RoutePlan) {
      self.route = route.name
      backlog = route.backlog
      options = StreamOptions(route.tcp)
    }
  }

  let key: ListenerKey
  let generation: UInt32
  let descriptor: CInt
  let address: SocketAddress?
  var settings: Settings
  private var socket: ListeningSocket?

  init(
    _ key: ListenerKey, generation: UInt32, settings: Settings
  ) throws(ListeningSocket.Failure) {
    let (backlog, options) = (settings.backlog, settings.options)
    let socket =
      switch key.address {
      case .socket(let address):
        try ListeningSocket(at: address, backlog: backlog, options: options)
      case .port(let port):
        try ListeningSocket(port: port, backlog: backlog, options: options)
      case .inherited(let descriptor):
        try ListeningSocket(inherited: descriptor, backlog: backlog, options: options)
      }
    self.key = key
    self.generation = generation
    self.settings = settings
    descriptor = socket.rawValue
    address = socket.address
    self.socket = consume socket
  }

  deinit {
    socket?.removeOwnedPath()
  }

  var isInherited: Bool {
    if case .inherited = key.address { true } else { false }
  }

  var claim: ListenClaim { ListenClaim(key.address, bound: address) }

  var name: String {
    switch key.address {
    case .socket(let wanted):
      (wanted.port == 0 ? address : nil)?.description ?? wanted.description
    case .port(let port): ":\(port == 0 ? address?.port ?? 0 : port)"
    case .inherited: address.map { "\(key.address)=\($0)" } ?? "\(key.address)"
    }
  }

  /// Lets the socket be, open.
  func giveUp() {
    _ = socket.take()?.release()
  }

  /// Has the socket be as the plan wants it now.
  func change(to settings: Settings) throws(ListeningSocket.Failure) {
    defer { self.settings = settings }
    guard settings.backlog != self.settings.backlog || settings.options != self.settings.options
    else { return }
    try socket?.change(backlog: settings.backlog, options: settings.options)
  }
}

/// The owner of all listening sockets.
final class Listeners {
  /// Those of the plan, in its order.
  private(set) var all: [OpenListener] = []
  private var sockets: [ListenerKey: OpenSocket] = [:]
  /// Those that are gone from the plan, until no worker watches them any more, with the version of
  /// the topology in which they are gone.
  private var leaving: [(socket: OpenSocket, version: Int)] = []
  /// The descriptors of sockets that were handed over and that nobody has taken yet.
  private var handedOver: Set<CInt>
  private var closedForGood: Set<CInt> = []
  private var lastGeneration: UInt32 = 0

  /// The descriptors that a service manager handed over and no route listens at.
  let unused: [Int32]

  /// The sockets that were handed over to this process: those of `activation`, and those that a plan
  /// names. To be asked before any socket of our own could have such a number.
  static func handedOver(to plan: ProxyPlan, _ activation: SocketActivation) -> Set<CInt> {
    Set((Array(activation.descriptors) + plan.inheritedDescriptors).filter(isSocket))
  }

  /// Opens all listeners of the first plan. Throws everything that fails, not only the first.
  /// `handedOver` is what the function of that name said at the start, `nil`: this is the start.
  init(
    _ plan: ProxyPlan, activation: SocketActivation, handedOver: Set<CInt>? = nil
  ) throws(StartFailure) {
    unused = activation.descriptors.filter { !plan.inheritedDescriptors.contains($0) }
    self.handedOver = handedOver ?? Listeners.handedOver(to: plan, activation)
    _ = commit(try prepare(plan), in: 0)
  }

  /// Opens the listeners of a plan that are not open yet. Throws everything that fails; then nothing
  /// has changed. May block only as long as the file system does.
  func prepare(_ plan: ProxyPlan) throws(StartFailure) -> PreparedListeners {
    let prepared = PreparedListeners()
    var reasons: [String] = []
    var ordinals: [ListenAddress: Int] = [:]
    for (position, route) in plan.routes.enumerated() {
      let settings = OpenSocket.Settings(route)
      for address in route.listen {
        let key = ListenerKey(address: address, ordinal: ordinals[address, default: 0])
        ordinals[address, default: 0] += 1
        do throws(ListeningSocket.Failure) {
          let socket = try socket(for: key, settings, prepared)
          prepared.sockets[key] = (socket, settings)
          prepared.all.append(
            OpenListener(
              key: key, descriptor: socket.descriptor, generation: socket.generation,
              name: socket.name, route: position))
        } catch {
          reasons.append("route \(route.name) cannot listen at \(address): \(error)")
        }
      }
    }
    guard reasons.isEmpty else { throw StartFailure(reasons) }
    return prepared
  }

  /// The socket that there is, or a new one.
  private func socket(
    for key: ListenerKey, _ settings: OpenSocket.Settings, _ prepared: PreparedListeners
  ) throws(ListeningSocket.Failure) -> OpenSocket {
    // One that is leaving can stay as well: workers take it up again.
    let known = sockets[key] ?? leaving.last { $0.socket.key == key }?.socket
    if let known { return known }
    if case .inherited(let descriptor) = key.address, !handedOver.contains(descriptor) {
      throw ListeningSocket.Failure(
        action: "taking over", errno: nil,
        advice: closedForGood.contains(descriptor)
          ? "descriptor \(descriptor) was closed when no route listened at it any more; restart"
          : "the parent process passed no socket as descriptor \(descriptor)")
    }
    do throws(ListeningSocket.Failure) {
      lastGeneration &+= 1
      let socket = try OpenSocket(key, generation: lastGeneration, settings: settings)
      prepared.opened.append(socket)
      return socket
    } catch {
      guard error.errno == .addressInUse, let other = overlapping(key.address) else { throw error }
      throw ListeningSocket.Failure(
        action: error.action, errno: error.errno,
        advice: "it overlaps \(other.name) of route \(other.settings.route), where this process "
          + "listens; reload once without that one, then with this one, or restart")
    }
  }

  private func overlapping(_ address: ListenAddress) -> OpenSocket? {
    let claim = ListenClaim(address)
    let all = Array(sockets.values) + leaving.map(\.socket)
    return all.first { $0.claim.overlaps(claim) }
  }

  /// Makes the listeners that were prepared those of the process; call once for each. Those that are
  /// gone stay open until `closeRemoved`; `version` is that of the topology in which they are gone.
  /// Returns what could not be changed about those that stay, in words.
  func commit(_ prepared: PreparedListeners, in version: Int) -> [String] {
    prepared.opened = []
    var complaints: [String] = []
    for (socket, settings) in prepared.sockets.values {
      if socket.isInherited {
        handedOver.remove(socket.descriptor)
        closedForGood.remove(socket.descriptor)
      }
      do throws(ListeningSocket.Failure) {
        try socket.change(to: settings)
      } catch {
        complaints.append("route \(settings.route), listener \(socket.name): \(error)")
      }
    }
    let next = prepared.sockets.mapValues(\.socket)
    prepared.sockets = [:]
    leaving.removeAll { next[$0.socket.key] === $0.socket }
    for (key, socket) in sockets where next[key] !== socket { leaving.append((socket, version)) }
    sockets = next
    all = prepared.all
    return complaints
  }

  /// Closes the listeners that are gone and that nobody watches any more, because all workers use
  /// the topology `version` or a later one. What still waits in their queues is reset.
  func closeRemoved(upTo version: Int) {
    for entry in leaving where entry.version <= version && entry.socket.isInherited {
      closedForGood.insert(entry.socket.descriptor)
    }
    leaving.removeAll { $0.version <= version }
  }

  /// Closes all sockets; what still waits in their queues is reset. No worker may watch them.
  func close() {
    sockets = [:]
    leaving = []
  }
}

/// Whether a number is that of an open socket.
private func isSocket(_ descriptor: Int32) -> Bool {
  var status = stat()
  return fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
}

extension ProxyPlan {
  /// The descriptors that routes listen at.
  fileprivate var inheritedDescriptors: [CInt] {
    routes.flatMap(\.listen).compactMap { address in
      if case .inherited(let descriptor) = address { descriptor } else { nil }
    }
  }
}
