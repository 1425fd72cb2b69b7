// SPDX-License-Identifier: Apache-2.0
// What a pick costs, by policy, with few and with many endpoints: one JSON object. A pick is measured
// with what belongs to it: counting the session, and giving it back when it is over. A thousand
// sessions are held.

import Addressing
import Balancing
import DataPlane
import Glibc
import Plan
import Reactor

/// The processor time of this thread: other programs on the machine do not count.
func threadNanoseconds() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

func topology(_ balance: BalancePolicy, endpoints count: Int) -> Topology {
  let plan = UpstreamPlan(
    name: "u", balance: balance,
    endpoints: (0..<count).map { number in
      let ip = IPv4Address(rawValue: 0x0A00_0000 + UInt32(number))
      return EndpointPlan(
        address: .socket(.v4(ip, port: 80)), weight: 1 + number % 3)
    })
  let state = UpstreamState()
  var endpoints = plan.endpoints.enumerated().map { number, endpoint in
    guard case .socket(let address) = endpoint.address else { preconditionFailure("made above") }
    return Endpoint(
      endpoint, name: "", upstreamName: "u", address: address, number: number % 64,
      state: EndpointState(workers: 1), upstreamState: state)
  }
  let members = plan.endpoints.enumerated().map { number, endpoint in
    (Upstream.Member(EndpointIndex(number), weight: endpoint.weight), 0)
  }
  var upstream = Upstream(plan, members: members, version: 1, state: state)
  upstream.seat(&endpoints, version: 1)
  return Topology(
    version: 1, listeners: [], routes: [], upstreams: [upstream], endpoints: endpoints,
    sessions: SessionCount(), sessionsMax: 1_000_000)
}

/// The median of several runs, in nanoseconds per pick.
func measure(_ balance: BalancePolicy, endpoints count: Int, picks: Int) -> Double {
  let topology = topology(balance, endpoints: count)
  let upstream = topology.upstreams[0]
  var picker = EndpointPicker(upstream, offset: 0)
  var random = SplitMix64(seed: 1)
  var held = [EndpointIndex](repeating: EndpointIndex(0), count: 1000)
  var now = Instant(nanoseconds: 1 << 40)
  func pickOne(_ number: Int, replacing: Bool) {
    now = now.advanced(by: 10_000)
    upstream.state.sessions.add()
    let pick = picker.pick(
      upstream, of: topology, tried: 0, key: random.next(), at: now, random: &random)
    guard case .endpoint(let endpoint) = pick else { preconditionFailure("nobody was full") }
    let place = number % held.count
    if replacing {
      topology.giveBack(held[place])
      upstream.state.sessions.giveBack()
    }
    held[place] = endpoint
  }
  for number in held.indices { pickOne(number, replacing: false) }
  for number in 0..<picks { pickOne(number, replacing: true) }
  let runs = (0..<5).map { _ in
    let start = threadNanoseconds()
    for number in 0..<picks { pickOne(number, replacing: true) }
    return Double(threadNanoseconds() - start) / Double(picks)
  }
  return runs.sorted()[2]
}

let policies: [(name: String, balance: BalancePolicy)] = [
  ("round_robin", .roundRobin), ("random", .random), ("least_connections", .leastConnections),
  ("power_of_two", .powerOfTwo), ("first", .first), ("source_hash", .sourceHash(HashPlan())),
  ("maglev", .maglev(HashPlan())), ("maglev, load 125%", .maglev(HashPlan(loadPercent: 125))),
  ("peak_ewma", .peakEWMA(EWMAPlan())),
]
let isQuick = getenv("QUICK") != nil
var results: [String] = []
for policy in policies {
  for count in [10, 10_000] {
    let nanoseconds = measure(policy.balance, endpoints: count, picks: isQuick ? 20_000 : 200_000)
    let tenths = Int((nanoseconds * 10).rounded())
    results.append("\"\(policy.name) x\(count)\": {\"ns\": \(tenths / 10).\(tenths % 10)}")
  }
}
print("{\(results.joined(separator: ", "))}")
