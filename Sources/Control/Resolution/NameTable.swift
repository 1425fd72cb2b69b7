// SPDX-License-Identifier: Apache-2.0
// What names stand for, as far as is known: the last answer that had something in it. A look-up that
// fails, or says that there is none, changes nothing: a name server that is down must not take the
// endpoints with it.

import Addressing
import Plan

/// What a look-up came to.
enum Resolution: Hashable, Sendable {
  /// The addresses of a host, at least one, in the order of RFC 6724, none twice.
  case addresses([IPAddress])
  /// The servers of a service, at least one, none twice.
  case service([ServiceEndpoint])
  /// Why there is none, in words.
  case failed(String)
}

extension Resolution {
  /// The same, with what was in `known` before in the order that it had there, and newcomers behind it.
  func ordered(after known: Resolution?) -> Resolution {
    switch (self, known) {
    case (.addresses(let found), .addresses(let known)?):
      let answered = Set(found)
      let before = Set(known)
      return .addresses(known.filter(answered.contains) + found.filter { !before.contains($0) })
    case (.service(let found), .service(let known)?):
      let answered = Dictionary(uniqueKeysWithValues: found.map { ($0.id, $0) })
      let before = Set(known.map(\.id))
      return .service(
        known.compactMap { answered[$0.id] } + found.filter { !before.contains($0.id) })
    default:
      return self
    }
  }

  /// What it has that `other` has not, for people.
  fileprivate func members(beyond other: Resolution) -> [String] {
    switch (self, other) {
    case (.addresses(let own), .addresses(let others)):
      let others = Set(others)
      return own.filter { !others.contains($0) }.map(\.description)
    case (.service(let own), .service(let others)):
      let others = Set(others.map(\.id))
      return own.map(\.id).filter { !others.contains($0) }.map(\.description)
    default:
      return []
    }
  }
}

extension ServiceEndpoint.ID: CustomStringConvertible {
  var description: String { "\(target)(\(SocketAddress(address, port: port)))" }
}

/// The last good answer for each question, and what became of asking.
struct NameTable {
  /// What an answer means.
  enum Verdict: Equatable {
    /// Others than before; where both are empty, other weights or priorities.
    case changed(added: [String], removed: [String])
    /// The same, in whatever order: name servers shuffle them.
    case same
    /// No answer, after one that was good: the last good one stays.
    case failed(String)
    /// Again no answer.
    case stillFailed
    /// The same, after look-ups that had failed.
    case recovered
  }

  private struct Entry {
    var resolution: Resolution
    /// How often asking has failed since the last good answer.
    var failuresInRow = 0
    var failures = 0
  }

  private var entries: [NameQuestion: Entry] = [:]

  /// What a topology is built from.
  var resolutions: [NameQuestion: Resolution] { entries.mapValues(\.resolution) }

  /// How often looking up each name has failed.
  var failures: [String: Int] {
    Dictionary(entries.map { ($0.key.name, $0.value.failures) }, uniquingKeysWith: +)
  }

  /// The names whose last look-up has failed, in alphabetical order.
  var failing: [String] {
    Set(entries.filter { $0.value.failuresInRow > 0 }.map(\.key.name)).sorted()
  }

  /// Whether a question has been answered with success.
  func knows(_ question: NameQuestion) -> Bool { entries[question] != nil }

  /// The last good answer.
  func last(_ question: NameQuestion) -> Resolution? { entries[question]?.resolution }

  /// How often asking has failed since the last good answer.
  func failuresInRow(_ question: NameQuestion) -> Int { entries[question]?.failuresInRow ?? 0 }

  /// Takes the first answer to a question.
  mutating func learn(_ question: NameQuestion, _ resolution: Resolution) {
    if case .failed = resolution { preconditionFailure("nothing to learn") }
    entries[question] = Entry(resolution: resolution)
  }

  /// Takes another answer to a question that was answered before, and says what it means. What is new
  /// comes behind what stays, which keeps its order.
  mutating func note(_ question: NameQuestion, _ resolution: Resolution) -> Verdict {
    guard var entry = entries[question] else {
      preconditionFailure("an answer to a question that nobody asked")
    }
    defer { entries[question] = entry }
    let wasFailing = entry.failuresInRow > 0
    if case .failed(let reason) = resolution {
      entry.failuresInRow += 1
      entry.failures += 1
      return wasFailing ? .stillFailed : .failed(reason)
    }
    entry.failuresInRow = 0
    let next = resolution.ordered(after: entry.resolution)
    guard next != entry.resolution else { return wasFailing ? .recovered : .same }
    let verdict = Verdict.changed(
      added: next.members(beyond: entry.resolution), removed: entry.resolution.members(beyond: next)
    )
    entry.resolution = next
    return verdict
  }

  /// Forgets all questions but these.
  mutating func keep(only questions: Set<NameQuestion>) {
    entries = entries.filter { questions.contains($0.key) }
  }
}
