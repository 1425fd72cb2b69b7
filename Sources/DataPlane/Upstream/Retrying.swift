// SPDX-License-Identifier: Apache-2.0
// Which attempts may follow one that has failed. The first is free. A second one goes to another
// endpoint at once, as long as not too many sessions of the upstream are past their first (the budget):
// when everything fails, retries must not multiply what the endpoints have to bear. Those after it wait
// a little longer each time. All of them together have the upstream's `connect` time.

import Reactor

extension Worker {
  /// Whether the next attempt may be made now. If not, the session waits for its turn or in the waiting
  /// room, or has ended.
  func mayTryAgain(
    _ index: Int, _ session: UnsafeMutablePointer<Session>, after failure: SessionError
  ) -> Bool {
    guard failure.isRetryable else {
      connectFailed(index, session, failure)
      return false
    }
    let upstream = upstream(of: session.pointee)
    let deadline = connectDeadline(of: session.pointee)
    let attempts = Int(session.pointee.search.attempts)
    let isUntried = topology.hasUntried(upstream, session.pointee.triedEndpoints)
    guard now < deadline, attempts < upstream.retry.attemptsMax ?? .max,
      isUntried || upstream.retry.attemptsMax != nil
    else {
      giveUp(index, session, failure)
      return false
    }
    guard beginRetrying(session, upstream) else {
      upstream.state.note(.retryRefused)
      if mayHold(session, upstream, failure) {
        hold(index, session)
      } else {
        session.pointee.noteEnd(.proxy, .retryBudget, errno: failure.errno)
        resetSession(index, session)
      }
      return false
    }
    let wait = upstream.retry.wait(
      afterAttempts: isUntried ? attempts : max(2, attempts), random: &random)
    let next = now.advanced(by: wait)
    guard wait == 0 || next < deadline else {
      giveUp(index, session, failure)
      return false
    }
    // With a number of attempts of its own, who has been everywhere begins anew.
    if !isUntried { session.pointee.triedEndpoints = 0 }
    upstream.state.note(.retry)
    guard wait > 0 else { return true }
    session.pointee.stepStartedAt = next
    armTimer(index, session)
    return false
  }

  /// Counts a session as one that is past its first attempt, unless too many are.
  private func beginRetrying(
    _ session: UnsafeMutablePointer<Session>, _ upstream: Upstream
  ) -> Bool {
    guard !session.pointee.search.isRetry else { return true }
    let budget = upstream.retry.budget(sessions: upstream.state.sessions.value)
    guard upstream.state.retrying.take(below: budget) else { return false }
    session.pointee.search.isRetry = true
    return true
  }

  /// The session is connected, or tries no more for now. `upstream` is the one that it has looked at, if
  /// that is another than its route's.
  func endRetrying(
    _ session: UnsafeMutablePointer<Session>, at upstream: UpstreamState? = nil
  ) {
    guard session.pointee.search.isRetry else { return }
    session.pointee.search.isRetry = false
    (upstream ?? upstreamState(of: session.pointee)).retrying.giveBack()
  }

  /// No attempt is left: the session waits until endpoints can be connected again, or ends.
  func giveUp(
    _ index: Int, _ session: UnsafeMutablePointer<Session>, _ failure: SessionError
  ) {
    guard mayHold(session, upstream(of: session.pointee), failure) else {
      return connectFailed(index, session, failure)
    }
    hold(index, session)
  }

  /// Whether a session whose attempts have failed may wait for better times. Not for the sake of a client
  /// that is gone, nor when it was we who lacked something.
  private func mayHold(
    _ session: UnsafeMutablePointer<Session>, _ upstream: Upstream, _ failure: SessionError
  ) -> Bool {
    upstream.hold != nil && failure.origin == .upstream && session.pointee.end == nil
  }
}

extension Topology {
  /// Whether an endpoint that may get sessions has not failed a session yet; those that are ejected may get
  /// the sessions that all others have failed.
  func hasUntried(_ upstream: Upstream, _ tried: UInt64) -> Bool {
    let serving = upstream.state.serving
    return upstream.tiers.contains { tier in
      tier.contains { member in
        let endpoint = endpoints[member.endpoint.position]
        return member.weight > 0 && tried & endpoint.triedBit == 0
          && (serving == .panic || endpoint.state.availability != .down)
      }
    }
  }
}
