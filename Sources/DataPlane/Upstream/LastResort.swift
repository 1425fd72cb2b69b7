// SPDX-License-Identifier: Apache-2.0
// An ejection is a guess from a few sessions. A session that every other endpoint has failed is tried at
// ejected endpoints before it is given up. An endpoint that serves it is no longer ejected.

import Balancing

extension Upstream {
  /// An endpoint that is ejected, has not failed this session, and has room; the session is counted there.
  /// Visits all endpoints, for sessions that would end otherwise.
  func lastResort(tried: UInt64, random: inout SplitMix64) -> EndpointIndex? {
    for roster in rosters {
      // From a random position, so that ejected endpoints share these sessions.
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
