// SPDX-License-Identifier: Apache-2.0
// One look-up, from the question to what endpoints are made of. What a look-up could not find out stays
// as it was last known: the addresses of a server whose name does not resolve, those of a family that
// nobody answered for. So a fault in one place never costs endpoints in another.

import Addressing
import DNS
import EventLoop
import Plan
import Reactor

/// What asking came to.
struct NameAnswer: Hashable, Sendable {
  var resolution: Resolution
  /// For how long it holds, as far as there is one; `nil` where nobody tells.
  var timeToLive: Duration?
  /// The servers of a service whose names could not be looked up, and why.
  var failedTargets: [String: String] = [:]
}

/// Answers questions, on the loop of the control plane.
struct NameLookUp: Sendable {
  /// The most servers of a service that are looked up.
  static let targetsMax = 256
  /// The most endpoints that a service comes to: each server has one for each of its ports and addresses.
  static let serviceEndpointsMax = 1024

  let system: HostResolver
  let client = DNSClient()
  /// Who is asked where nobody else is named.
  let configuration: ResolverConfiguration

  /// Asks. `known` is the last good answer. Returns when there is an answer, at the latest after twice
  /// `timeout`: services are asked for first, their addresses then.
  func answer(
    to question: NameQuestion, after known: Resolution?, timeout: Duration
  ) async -> NameAnswer {
    do {
      switch (question.source, question.kind) {
      case (.system, _):
        let deadline = Loop.current?.now.advanced(by: timeout.wholeNanoseconds) ?? .distantFuture
        return NameAnswer(
          resolution: .addresses(try await system.addresses(of: question.name, until: deadline)))
      case (.servers(let servers), .addresses):
        let servers = try await nameServers(servers, timeout)
        let found = try await client.addresses(
          of: question.name, from: servers, timeout: timeout)
        var last: [IPAddress] = []
        if case .addresses(let addresses) = known { last = addresses }
        return NameAnswer(
          resolution: .addresses(found.completed(from: last)), timeToLive: found.timeToLive)
      case (.servers(let servers), .service):
        let servers = try await nameServers(servers, timeout)
        let found = try await client.services(
          of: question.name, from: servers, timeout: timeout)
        let targets = try await addresses(of: found.services, servers, timeout)
        var last: [ServiceEndpoint] = []
        if case .service(let endpoints) = known { last = endpoints }
        return NameAnswer(found, targets, after: last)
      }
    } catch let error as HostNameError {
      return NameAnswer(resolution: .failed(error.reason))
    } catch WaitError.deadlinePassed {
      return NameAnswer(resolution: .failed("no answer within \(timeout.configurationText)"))
    } catch {
      return NameAnswer(resolution: .failed("\(error)"))
    }
  }

  private func nameServers(
    _ servers: [SocketAddress], _ timeout: Duration
  ) async throws -> NameServers {
    guard servers.isEmpty else { return NameServers(servers) }
    let deadline = Loop.current?.now.advanced(by: timeout.wholeNanoseconds) ?? .distantFuture
    return try await configuration.nameServers(until: deadline)
  }

  /// The addresses of every server of a service, asked for all at once.
  private func addresses(
    of services: [DNSService], _ servers: NameServers, _ timeout: Duration
  ) async throws -> [String: Result<DNSAddresses, DNSFailure>] {
    let targets = Set(services.map(\.target))
    guard targets.count <= NameLookUp.targetsMax else {
      throw DNSFailure(
        reason: "the service has \(targets.count) servers, more than \(NameLookUp.targetsMax)")
    }
    return await withTaskGroup(of: (String, Result<DNSAddresses, DNSFailure>).self) { group in
      for target in targets {
        group.addTask(name: "look up \(target)") {
          do {
            // Names in records are whole.
            let found = try await client.addresses(
              of: target + ".", from: servers, timeout: timeout)
            return (target, .success(found))
          } catch {
            return (target, .failure(error as? DNSFailure ?? DNSFailure(reason: "\(error)")))
          }
        }
      }
      var found: [String: Result<DNSAddresses, DNSFailure>] = [:]
      while let (target, result) = await group.next() { found[target] = result }
      return found
    }
  }
}

extension NameAnswer {
  /// Puts the servers of a service and their addresses together. `last` are the endpoints that the service
  /// had: those of a server whose name cannot be looked up stay.
  init(
    _ found: DNSServices, _ targets: [String: Result<DNSAddresses, DNSFailure>],
    after last: [ServiceEndpoint]
  ) {
    var failedTargets: [String: String] = [:]
    var endpoints: [ServiceEndpoint] = []
    var known: Set<ServiceEndpoint.ID> = []
    var lifetime = found.timeToLive
    for service in found.services {
      var lastAddresses: [IPAddress] = []
      for endpoint in last
      where endpoint.id.target == service.target && !lastAddresses.contains(endpoint.id.address) {
        lastAddresses.append(endpoint.id.address)
      }
      var addresses = lastAddresses
      switch targets[service.target] {
      case .success(let answer):
        addresses = answer.completed(from: lastAddresses)
        lifetime = min(lifetime, answer.timeToLive)
      case .failure(let failure):
        failedTargets[service.target] = failure.reason
      case nil:
        assertionFailure("a server that nobody looked up")
      }
      for address in addresses {
        let id = ServiceEndpoint.ID(target: service.target, address: address, port: service.port)
        guard known.insert(id).inserted else { continue }
        guard endpoints.count < NameLookUp.serviceEndpointsMax else {
          let reason = "the service comes to more than \(NameLookUp.serviceEndpointsMax) endpoints"
          self.init(resolution: .failed(reason))
          return
        }
        endpoints.append(
          ServiceEndpoint(id: id, priority: service.priority, weight: service.weight))
      }
    }
    let failure = failedTargets.min { $0.key < $1.key }
    if let failure, endpoints.isEmpty {
      self.init(resolution: .failed("no address for \(failure.key): \(failure.value)"))
    } else {
      self.init(
        resolution: .service(endpoints), timeToLive: lifetime, failedTargets: failedTargets)
    }
  }
}

extension DNSAddresses {
  /// With the addresses that were known of a family that nobody answered for.
  fileprivate func completed(from last: [IPAddress]) -> [IPAddress] {
    guard let unanswered else { return addresses }
    return addresses + last.filter { $0.family == unanswered && !addresses.contains($0) }
  }
}
