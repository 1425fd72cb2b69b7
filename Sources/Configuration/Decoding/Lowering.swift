// SPDX-License-Identifier: Apache-2.0
// From drafts to the plan: names become indices, defaults are filled in (a route's own, then those
// of the file, then the plan's), and what only makes sense as a whole is checked: names that
// dangle, listeners that collide, settings that contradict each other. It runs even after errors,
// so that these faults are told in the same run; then its plan is not used.

import Addressing
import Plan

/// Makes the plan of a file.
struct Lowering {
  let file: FileDraft
  /// What all upstreams share.
  private let shared: UpstreamSettings
  var diagnostics: Diagnostics
  private var listeners = ListenerCollisions()
  private var upstreams: [UpstreamPlan] = []
  private var inline: [UpstreamPlan] = []
  /// Position among the file's upstreams by name.
  private var positions: [String: Int] = [:]
  private var isUsed: [Bool] = []
  private let environment: Environment
  /// The files with endpoints, by path.
  private var lists: [String: EndpointList] = [:]

  init(_ file: FileDraft, _ diagnostics: Diagnostics, _ environment: @escaping Environment) {
    self.file = file
    shared = file.defaults?.upstream ?? UpstreamSettings()
    self.diagnostics = diagnostics
    self.environment = environment
  }

  /// The files with endpoints that were read.
  var allLists: [EndpointList] { lists.values.sorted { $0.path < $1.path } }

  /// The plan, or `nil` when there is no route to make one of. Upstreams that no route uses are
  /// left out.
  mutating func plan() -> ProxyPlan? {
    for (position, upstream) in (file.upstreams ?? []).enumerated() {
      positions[upstream.name] = position
    }
    isUsed = Array(repeating: false, count: positions.count)
    checkDefaults()

    var targets: [(RoutePlan, RouteDraft, Target)] = []
    for route in file.routes ?? [] {
      // Lowered even without a target: its listeners may collide.
      let plan = self.route(route)
      if let target = target(of: route) { targets.append((plan, route.value, target)) }
    }
    let admin = self.admin()
    var indices: [Int?] = []
    for (position, upstream) in (file.upstreams ?? []).enumerated() {
      // Lowered even when unused: its own faults are told, too.
      let plan = self.upstream(
        name: upstream.name, upstream.value.endpoints ?? [], upstream.value.settings,
        file: upstream.value.endpointsFile, at: upstream.range)
      if isUsed[position] {
        indices.append(upstreams.count)
        upstreams.append(plan)
      } else {
        indices.append(nil)
        // Unless a route's target, which could not be read, is perhaps this one.
        if file.routes?.allSatisfy({ $0.value.target != nil }) == true {
          diagnostics.warning(at: upstream.range, "no route uses this upstream")
        }
      }
    }

    let namedCount = upstreams.count
    upstreams += inline
    let routes = targets.map { route, draft, target -> RoutePlan in
      var route = route
      let index =
        switch target {
        case .named(let position): indices[position] ?? 0
        case .inline(let position): namedCount + position
        }
      route.upstream = UpstreamIndex(index)
      checkMeaning(of: draft, to: upstreams[index])
      return route
    }
    guard !routes.isEmpty, diagnostics.errorCount == 0 else { return nil }
    return ProxyPlan(
      workers: file.workers ?? .auto, spin: file.spin ?? nil,
      sessionsMax: file.sessionsMax ?? .auto, log: log(), shutdown: shutdown(), relay: relay(),
      admin: admin, routes: routes, upstreams: upstreams)
  }

  private enum Target {
    /// Among the file's upstreams.
    case named(Int)
    /// Among the inline ones.
    case inline(Int)
  }

  private mutating func target(of route: Named<RouteDraft>) -> Target? {
    switch route.value.target {
    case nil: return nil
    case .endpoints(let endpoints): return addInline(endpoints, route)
    case .single(let single):
      switch single.value {
      case .address(let address):
        let located = Located(
          value: address, range: single.range, shown: single.shown, isExpanded: single.isExpanded)
        return addInline([EndpointDraft(address: located)], route)
      case .name(let name):
        if let position = positions[name] {
          isUsed[position] = true
          return .named(position)
        }
        // Suggestions are of names in the file, but their nearness would tell about a secret.
        var hints: [String] = []
        if !single.isExpanded {
          hints = diagnostics.didYouMean(name, among: file.upstreams?.map(\.name) ?? [])
            .orElse(["for an address, a port is needed: `\(escaped(name, scalarsMax: 60)):PORT`"])
        }
        diagnostics.error(
          at: single.range, "there is no upstream \(quoted(single.shown))", hints: hints,
          isShape: false)
        return nil
      }
    }
  }

  private mutating func addInline(
    _ endpoints: [EndpointDraft], _ route: Named<RouteDraft>
  ) -> Target {
    if let position = positions[route.name], let file = file.upstreams?[position] {
      diagnostics.error(
        at: route.range,
        "the upstream that this route defines would be a second one called \(quoted(route.name))",
        hints: ["the first is in line \(file.range.start.line); rename one, or write `to: NAME`"],
        isShape: false)
    }
    inline.append(upstream(name: route.name, endpoints, UpstreamSettings(), at: route.range))
    return .inline(inline.count - 1)
  }

  private mutating func route(_ route: Named<RouteDraft>) -> RoutePlan {
    let own = route.value.settings
    let shared = file.defaults?.route ?? RouteSettings()
    let listen = route.value.listen ?? []
    for address in listen {
      listeners.add(address, of: .route(route.name), &diagnostics)
    }
    return RoutePlan(
      name: route.name, listen: listen.map(\.value), upstream: UpstreamIndex(0),
      idle: own.idle ?? shared.idle ?? routeStandard.idle,
      halfCloseTimeout: own.halfCloseTimeout ?? shared.halfCloseTimeout
        ?? routeStandard.halfCloseTimeout,
      flushTimeout: own.flushTimeout ?? shared.flushTimeout ?? routeStandard.flushTimeout,
      dropSilentClients: own.dropSilentClients ?? shared.dropSilentClients
        ?? routeStandard.dropSilentClients,
      sessionsMax: own.sessionsMax ?? shared.sessionsMax,
      backlog: own.backlog ?? shared.backlog ?? routeStandard.backlog,
      tcp: tcp(own.tcp, shared.tcp),
      access: own.log?.access ?? shared.log?.access ?? routeStandard.access,
      hashKey: (own.hashKey ?? shared.hashKey)?.value)
  }

  private mutating func upstream(
    name: String, _ endpoints: [EndpointDraft], _ own: UpstreamSettings,
    file listFile: Located<String>? = nil, at range: SourceRange
  ) -> UpstreamPlan {
    let connect = own.connect?.value ?? shared.connect?.value ?? upstreamStandard.connect
    let attempt = own.attempt?.value ?? shared.attempt?.value ?? upstreamStandard.attempt
    if let place = own.attempt ?? own.connect, attempt > connect {
      warnAttempt(at: place.range)
    }
    let written = plans(of: endpoints, &diagnostics)
    let list = listFile.flatMap { readList($0) }
    let plans = list.map { written + $0.endpoints } ?? written
    if !plans.isEmpty, plans.allSatisfy({ $0.weight == 0 }) {
      diagnostics.warning(
        at: range, "every endpoint here has the weight 0, so none of them serves")
    }
    let check = check(own.check, shared.check, name: name, endpoints)
    let policy = balance(own.balance, shared.balance, name: name, plans)
    var plan = UpstreamPlan(
      name: name, balance: policy,
      connect: connect, attempt: attempt, source: own.source ?? shared.source ?? [],
      tcp: tcp(own.tcp, shared.tcp),
      avoidTimeWait: own.avoidTimeWait ?? shared.avoidTimeWait ?? upstreamStandard.avoidTimeWait,
      check: check,
      // What a file will list is not known: it may list names some day.
      resolve: resolve(own.resolve, shared.resolve, listFile == nil ? plans : []),
      slowStart: slowStart(own.slowStart, shared.slowStart, policy),
      spillOverPercent: spillOver(
        own.spillOverPercent, shared.spillOverPercent, plans, hasFile: listFile != nil),
      onDown: onDown(own.onDown, shared.onDown, check), retry: retry(own.retry, shared.retry),
      sessionsMax: own.sessionsMax ?? shared.sessionsMax,
      queue: queue(own, shared, plans), hold: hold(own.hold, shared.hold),
      endpoints: plans,
      endpointsFile: listFile.map {
        EndpointsFilePlan(path: $0.value, ownCount: written.count)
      })
    lowerAvailability(of: &plan, own, shared, at: range)
    if let list { lists[list.path]?.refuse(for: plan) }
    return plan
  }

  /// Reads the file that lists endpoints, once.
  private mutating func readList(_ file: Located<String>) -> EndpointList? {
    if let list = lists[file.value] { return list }
    do throws(SyntaxFailure) {
      let list = try EndpointList(path: file.value, environment: environment)
      lists[file.value] = list
      return list
    } catch {
      diagnostics.error(at: file.range, error.message, hints: error.hints, isShape: false)
      return nil
    }
  }

  private mutating func admin() -> AdminPlan? {
    guard let draft = file.admin, let listen = draft.listen else { return nil }
    let located = Located(
      value: ListenAddress.socket(listen.value), range: listen.range, shown: listen.shown,
      isExpanded: listen.isExpanded)
    listeners.add(located, of: .admin, &diagnostics)
    return AdminPlan(
      listen: listen.value, connectionsMax: draft.connectionsMax ?? adminStandard.connectionsMax,
      timeout: draft.timeout ?? adminStandard.timeout)
  }

  private mutating func checkDefaults() {
    guard let shared = file.defaults?.upstream else { return }
    if case .some(.some(let check)) = shared.check { checkMeaning(of: check) }
    if let resolve = shared.resolve { checkMeaning(of: resolve) }
    if let outlier = shared.outlier?.value { checkMeaning(of: outlier) }
    if let retry = shared.retry { checkMeaning(of: retry) }
    if let hold = shared.hold { checkMeaning(of: hold) }
    let connect = shared.connect?.value ?? upstreamStandard.connect
    let attempt = shared.attempt?.value ?? upstreamStandard.attempt
    if let place = shared.attempt ?? shared.connect, attempt > connect {
      warnAttempt(at: place.range)
    }
  }

  private mutating func warnAttempt(at range: SourceRange) {
    diagnostics.warning(
      at: range, "one attempt may take longer than all attempts together",
      hints: ["`attempt` should be shorter than `connect`, or no second endpoint is tried"])
  }

  private func tcp(_ own: TCPDraft?, _ shared: TCPDraft?) -> TCPPlan {
    let standard = TCPPlan()
    return TCPPlan(
      noDelay: own?.noDelay ?? shared?.noDelay ?? standard.noDelay,
      keepalive: (own?.keepalive ?? shared?.keepalive) ?? standard.keepalive,
      userTimeout: (own?.userTimeout ?? shared?.userTimeout) ?? standard.userTimeout,
      unsentBytesMax: (own?.unsentBytesMax ?? shared?.unsentBytesMax) ?? standard.unsentBytesMax)
  }

  private func log() -> LogPlan {
    let standard = LogPlan()
    return LogPlan(
      level: file.log?.level ?? standard.level, format: file.log?.format ?? standard.format,
      access: file.log?.access ?? standard.access,
      queueMax: file.log?.queueMax ?? standard.queueMax)
  }

  private func shutdown() -> ShutdownPlan {
    let standard = ShutdownPlan()
    return ShutdownPlan(
      delay: file.shutdown?.delay ?? standard.delay,
      drain: file.shutdown.flatMap { $0.drain } ?? standard.drain)
  }

  private func relay() -> RelayPlan {
    let standard = RelayPlan()
    let draft = file.relay ?? RelayDraft()
    return RelayPlan(
      bufferBytes: draft.bufferBytes ?? standard.bufferBytes,
      pipes: draft.pipes ?? standard.pipes, pipeBytes: draft.pipeBytes ?? standard.pipeBytes,
      turnBytes: draft.turnBytes ?? standard.turnBytes,
      coalesce: draft.coalesce ?? standard.coalesce,
      acceptsPerTurn: draft.acceptsPerTurn ?? standard.acceptsPerTurn,
      eventsPerTurn: draft.eventsPerTurn ?? standard.eventsPerTurn)
  }
}
