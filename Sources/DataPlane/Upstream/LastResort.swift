// SPDX-License-Identifier: Apache-2.0
// That an endpoint is ejected is a guess from a few sessions. For a session that every other endpoint
// has failed, the guess is the better chance: it is tried at those that are left out before it is given
// up. Who serves it is back in service.

import Balancing

extension Upstream {
  /// An endpoint that is ejected, has not failed this session, and has room; the session is counted there.
  /// Takes as long as there are endpoints, for sessions that have nothing left to lose.
  func lastResort(tried: UInt64, random: inout SplitMix64) -> EndpointIndex? {
    for roster in rosters {
      // From anywhere, so that they share what comes.
      let start = Int(random.next(below: UInt64(roster.members.count)))
      for step in roster.members.indices {
        let position = (start + step) % roster.members.count
        let member = roster.members[position]
        guard member.weight > 0, member.state.availability == .ejected,
          tried & member.triedBit == 0
        else { continue }
        if roster.take(position) { return member.endpoint }
      }
    }
    return nil
  }
}
