// SPDX-License-Identifier: Apache-2.0
// The way from a file, or its bytes, to a plan: check the bytes, build the tree, expand variables,
// decode, lower. Each step works on what the step before could make of the file, and all of them
// report to one collection, so that one run tells everything that is wrong.

import Glibc
import Plan

/// What a configuration came to.
public struct DecodedPlan: Sendable {
  /// The plan; `nil` exactly when there is an error.
  public var plan: ProxyPlan?
  /// Errors and warnings, in the order of the file; at most a hundred.
  public var diagnostics: [Diagnostic]
  /// How many more there are.
  public var omittedCount: Int

  /// All diagnostics as text, each ending a line; empty when there are none.
  public var report: String {
    var text = diagnostics.map { "\($0)\n" }.joined()
    if omittedCount > 0 { text += "… and \(omittedCount) more\n" }
    return text
  }
}

/// Where a configuration comes from.
public enum ConfigurationSource: Hashable, Sendable, CustomStringConvertible {
  case file(path: String)
  case standardInput

  /// What diagnostics call it.
  public var description: String {
    switch self {
    case .file(let path): path
    case .standardInput: "<stdin>"
    }
  }
}

/// Reads, decodes and checks a configuration. Blocks while it reads; refuses more than 4 MiB.
public func loadPlan(
  _ source: ConfigurationSource, environment: @escaping Environment = processEnvironment
) -> DecodedPlan {
  do throws(SyntaxFailure) {
    let bytes: [UInt8]
    switch source {
    case .file(let path): bytes = try readFile(path, bytesMax: SourceText.bytesMax)
    case .standardInput: bytes = try readAll(STDIN_FILENO, bytesMax: SourceText.bytesMax)
    }
    return decodePlan(bytes, fileName: source.description, environment: environment)
  } catch {
    var diagnostics = Diagnostics()
    diagnostics.error(at: nil, error.message, hints: error.hints)
    return DecodedPlan(nil, diagnostics, fileName: source.description, lines: [])
  }
}

/// Reads, decodes and checks the file at `path`.
public func loadPlan(
  path: String, environment: @escaping Environment = processEnvironment
) -> DecodedPlan {
  loadPlan(.file(path: path), environment: environment)
}

/// Decodes and checks the bytes of a file; `fileName` is what diagnostics call it.
public func decodePlan(
  _ bytes: [UInt8], fileName: String, environment: @escaping Environment = processEnvironment
) -> DecodedPlan {
  let decoded = decodeFile(bytes, environment: environment)
  return DecodedPlan(
    decoded.plan, decoded.diagnostics, fileName: fileName, lines: decoded.lines,
    lists: decoded.lists)
}

/// The environment of this process.
public func processEnvironment(_ name: String) -> String? {
  getenv(name).map { String(cString: $0) }
}

/// A file on its way to `DecodedPlan`, with what tests want to know about its faults.
struct DecodedFile {
  var plan: ProxyPlan?
  var diagnostics: Diagnostics
  var lines: [String]
  /// The files with endpoints that it names.
  var lists: [EndpointList] = []
}

func decodeFile(_ bytes: [UInt8], environment: @escaping Environment) -> DecodedFile {
  var diagnostics = Diagnostics()
  let source: SourceText
  do throws(SyntaxFailure) {
    source = try SourceText(bytes)
  } catch {
    diagnostics.report(error)
    let head = bytes.prefix(SourceText.bytesMax)
    return DecodedFile(diagnostics: diagnostics, lines: SourceText.lines(of: head))
  }
  let lines = SourceText.lines(of: source.bytes)
  guard let tree = TreeBuilder.build(source, lines: lines, diagnostics: &diagnostics) else {
    return DecodedFile(diagnostics: diagnostics, lines: lines)
  }
  let root = expand(tree, of: source, environment: environment, &diagnostics)
  guard let file = Codec<FileDraft>.file.decode(root, &diagnostics) else {
    return DecodedFile(diagnostics: diagnostics, lines: lines)
  }
  var lowering = Lowering(file, diagnostics, environment)
  let plan = lowering.plan()
  return DecodedFile(
    plan: plan, diagnostics: lowering.diagnostics, lines: lines, lists: lowering.allLists)
}

extension DecodedPlan {
  fileprivate init(
    _ plan: ProxyPlan?, _ diagnostics: Diagnostics, fileName: String, lines: [String],
    lists: [EndpointList] = []
  ) {
    let isSound = diagnostics.errorCount == 0 && lists.allSatisfy { $0.diagnostics.errorCount == 0 }
    self.plan = isSound ? plan : nil
    (self.diagnostics, omittedCount) = diagnostics.finished(file: fileName, lines: lines)
    for list in lists {
      let (shown, omitted) = list.finished
      self.diagnostics += shown
      omittedCount += omitted
    }
  }
}
