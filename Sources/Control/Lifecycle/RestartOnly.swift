// SPDX-License-Identifier: Apache-2.0
// What a reload cannot change, because threads and their tables were made by it at the start. A new
// file may say otherwise; the rest of it is taken up, and what needs a restart is told.

import Plan

extension ProxyPlan {
  /// The keys of the configuration in which `self`, a new plan, differs from the running one in what only
  /// a restart changes. Takes the values of the running plan for them.
  mutating func keepWhatNeedsRestart(from running: ProxyPlan) -> [String] {
    var keys: [String] = []
    func keep<Value: Equatable>(_ key: String, _ path: WritableKeyPath<ProxyPlan, Value>) {
      guard self[keyPath: path] != running[keyPath: path] else { return }
      keys.append(key)
      self[keyPath: path] = running[keyPath: path]
    }
    keep("workers", \.workers)
    keep("spin", \.spin)
    keep("max_sessions", \.sessionsMax)
    keep("log", \.log)
    keep("relay", \.relay)
    keep("admin", \.admin)
    return keys
  }
}
