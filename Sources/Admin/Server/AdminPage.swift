// SPDX-License-Identifier: Apache-2.0
// Which page a request is for, and what is said to a request that is for none. Values in, values out.

import HTTP1
import HTTPTypes

/// What can be asked for.
enum AdminPage: String, CaseIterable, Sendable {
  /// Whether the control loop turns: it does, when this is answered.
  case live = "/livez"
  /// Whether clients should come.
  case ready = "/readyz"
  /// The metrics.
  case metrics = "/metrics"

  /// The page that a head is for, whatever else is wrong with it; `nil` if there is none. A query is
  /// passed over: some scrapers send one.
  init?(_ head: RequestHead) {
    guard let path = head.request.path?.prefix(while: { $0 != "?" }) else { return nil }
    self.init(rawValue: String(path))
  }

  /// What to say instead of the page; `nil` if the request is in order.
  static func refusal(of head: RequestHead, for page: AdminPage?) -> AdminResponse? {
    // The target of these methods is no page; that the method is not taken is the better answer.
    let isAboutPage = head.request.path?.hasPrefix("/") ?? false
    if page == nil && isAboutPage { return .notFound }
    guard head.request.method == .get || head.request.method == .head else {
      return .methodNotAllowed
    }
    return head.framing == .none ? nil : .contentNotTaken
  }
}
