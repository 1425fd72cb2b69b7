// SPDX-License-Identifier: Apache-2.0
// Who is let in when there is no room.

import Testing

@testable import Admin

@Suite struct AdmissionTests {
  private func served(_ verdict: Admission.Verdict) throws -> Admission.ID {
    guard case .serve(let id) = verdict else {
      Issue.record("not served: \(verdict)")
      throw CancellationError()
    }
    return id
  }

  @Test func aNewcomerTakesThePlaceOfWhoeverWaitsLongest() throws {
    var admission = Admission(connectionsMax: 2)
    let first = try served(admission.admit())
    let second = try served(admission.admit())
    admission.begin(first)
    admission.rest(first)
    guard case .serveInstead(let third, of: second) = admission.admit() else {
      Issue.record("the second waits the longest")
      return
    }
    // Its task ends later, and must not make room a second time.
    admission.rest(second)
    admission.leave(second)
    admission.begin(first)
    admission.begin(third)
    guard case .refuse = admission.admit() else {
      Issue.record("both are being answered")
      return
    }
  }

  @Test func whoIsBeingAnsweredIsNotDisturbed() throws {
    var admission = Admission(connectionsMax: 1)
    let only = try served(admission.admit())
    admission.begin(only)
    guard case .refuse(let refused) = admission.admit() else {
      Issue.record("there is no room")
      return
    }
    #expect(admission.admit() == .drop)
    admission.leave(refused)
    guard case .refuse = admission.admit() else {
      Issue.record("one can be told again")
      return
    }
    admission.leave(only)
    _ = try served(admission.admit())
  }
}
