// SPDX-License-Identifier: Apache-2.0
// A file that lists endpoints and nothing else: read, decoded and checked like the configuration, each
// fault with its place. Whoever finds endpoints by other means writes it, and the proxy follows it.

import Plan

/// What a file that lists endpoints came to.
public struct DecodedEndpoints: Sendable {
  /// The endpoints; `nil` exactly when there is an error. Never empty.
  public var endpoints: [EndpointPlan]?
  /// Errors and warnings, in the order of the file; at most a hundred.
  public var diagnostics: [Diagnostic]
  /// How many more there are.
  public var omittedCount: Int
}

/// Reads the file at `path`, which lists endpoints for `upstream`. Blocks while it reads; refuses more
/// than 4 MiB, and what is no regular file.
public func loadEndpoints(
  path: String, for upstream: UpstreamPlan, environment: @escaping Environment = processEnvironment
) -> DecodedEndpoints {
  do throws(SyntaxFailure) {
    var list = try EndpointList(path: path, environment: environment)
    list.refuse(for: upstream)
    let (shown, omitted) = list.finished
    return DecodedEndpoints(
      endpoints: list.diagnostics.errorCount == 0 ? list.endpoints : nil, diagnostics: shown,
      omittedCount: omitted)
  } catch {
    var diagnostics = Diagnostics()
    diagnostics.error(at: nil, error.message, hints: error.hints)
    let (shown, omitted) = diagnostics.finished(file: path, lines: [])
    return DecodedEndpoints(endpoints: nil, diagnostics: shown, omittedCount: omitted)
  }
}

/// A file that lists endpoints.
struct EndpointList {
  let path: String
  private(set) var diagnostics = Diagnostics()
  /// What could be read of it.
  private(set) var endpoints: [EndpointPlan] = []
  private var drafts: [EndpointDraft] = []
  private var lines: [String] = []

  /// Reads and decodes it. Throws when it cannot be read.
  init(path: String, environment: @escaping Environment) throws(SyntaxFailure) {
    self.path = path
    let bytes = try readRegularFile(path, bytesMax: SourceText.bytesMax)
    decode(bytes, environment)
  }

  /// Decodes the bytes of a file that is called `path`.
  init(_ bytes: [UInt8], path: String, environment: @escaping Environment) {
    self.path = path
    decode(bytes, environment)
  }

  private mutating func decode(_ bytes: [UInt8], _ environment: @escaping Environment) {
    let source: SourceText
    do throws(SyntaxFailure) {
      source = try SourceText(bytes)
    } catch {
      diagnostics.report(error)
      lines = SourceText.lines(of: bytes.prefix(SourceText.bytesMax))
      return
    }
    lines = SourceText.lines(of: source.bytes)
    let limits = Limits(contents: .endpoints)
    guard
      let tree = TreeBuilder.build(
        source, lines: lines, limits: limits, diagnostics: &diagnostics)
    else { return }
    let root = expand(tree, of: source, environment: environment, &diagnostics)
    drafts =
      Codec<[EndpointDraft]>.list(.endpoint, countMin: 1).decode(root, &diagnostics) ?? []
    endpoints = plans(of: drafts, &diagnostics)
    assert(!endpoints.isEmpty || diagnostics.errorCount > 0)
  }

  /// Reports what cannot be an endpoint of an upstream, or is one already.
  mutating func refuse(for upstream: UpstreamPlan) {
    let own = Set(
      upstream.ownEndpoints.map(\.address).filter {
        // Two of them are two servers.
        if case .builtin = $0 { false } else { true }
      })
    for draft in drafts {
      if let address = draft.address, own.contains(address.value) {
        diagnostics.warning(
          at: address.range,
          "\(quoted(address.shown)) is already among the `endpoints` of the upstream "
            + quoted(upstream.name),
          hints: ["in both places it is two endpoints; to give it a larger share, use `weight`"])
      }
      guard let address = draft.address,
        let reason = upstream.refusal(of: EndpointPlan(address: address.value))
      else { continue }
      diagnostics.error(
        at: address.range, reason, hints: ["it is for the upstream \(quoted(upstream.name))"],
        isShape: false)
    }
  }

  /// Errors and warnings with their places, and how many were left out.
  var finished: (shown: [Diagnostic], omittedCount: Int) {
    diagnostics.finished(file: path, lines: lines)
  }
}

/// The endpoints of a list, as far as they could be read; what makes no sense is reported.
func plans(of drafts: [EndpointDraft], _ diagnostics: inout Diagnostics) -> [EndpointPlan] {
  var seen: [EndpointAddress: Mark] = [:]
  seen.reserveCapacity(drafts.count)
  var plans: [EndpointPlan] = []
  plans.reserveCapacity(drafts.count)
  for draft in drafts {
    // Not the whole that is read of it: there may be ten thousand.
    guard let address = draft.address?.value, let range = draft.address?.range else { continue }
    switch address {
    case .builtin:
      break  // Two of them are two servers.
    case .service:
      if let weight = draft.weight {
        diagnostics.error(
          at: weight.range, "the records of a service tell the weights of its servers",
          hints: ["leave out `weight`"], isShape: false)
      }
      fallthrough
    case .socket, .name:
      if let first = seen.updateValue(range.start, forKey: address) {
        diagnostics.warning(
          at: range,
          "\(quoted(draft.address?.shown ?? "")) is already an endpoint of this upstream",
          hints: ["it is in line \(first.line); to give it a larger share, use `weight`"])
      }
    }
    plans.append(
      EndpointPlan(
        address: address, weight: draft.weight?.value ?? 1, sessionsMax: draft.sessionsMax,
        priority: draft.priority ?? 0))
  }
  return plans
}
