// SPDX-License-Identifier: Apache-2.0
// Where the plan comes from, for reading it again: the control plane knows plans, not files.

import Plan

/// What reading a configuration came to.
public struct PlanReading: Sendable {
  /// The plan; `nil` when the configuration is wrong or cannot be read.
  public let plan: ProxyPlan?
  /// Errors and warnings, each in a line.
  public let problems: [String]

  /// Puts both together.
  public init(plan: ProxyPlan?, problems: [String]) {
    self.plan = plan
    self.problems = problems
  }
}

/// A configuration that can be read again.
public struct PlanSource: Sendable {
  /// What people know it by: a path.
  public let name: String
  /// Reads it. May block; called on a thread of its own. `nil` when it can be read only once.
  let read: (@Sendable () -> PlanReading)?

  /// Reads a file that lists endpoints for an upstream. May block; called on a thread of its own.
  let readEndpoints: @Sendable (_ path: String, _ upstream: UpstreamPlan) -> EndpointsReading

  /// A configuration called `name`, which `read` reads anew each time, and `readEndpoints` the files with
  /// endpoints that it names.
  public init(
    name: String, read: (@Sendable () -> PlanReading)?,
    readEndpoints:
      @escaping @Sendable (
        _ path: String, _ upstream: UpstreamPlan
      ) -> EndpointsReading
  ) {
    self.name = name
    self.read = read
    self.readEndpoints = readEndpoints
  }
}
