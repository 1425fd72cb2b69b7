// SPDX-License-Identifier: Apache-2.0
// What host names stand for, as far as is known: the last answer that had addresses in it. A look-up that
// fails, or says that there is none, changes nothing: a name server that is down must not take the
// endpoints with it.

import Addressing
import Plan

/// What a look-up came to.
enum Resolution: Hashable, Sendable {
  /// At least one address, in the order of RFC 6724, none twice.
  case addresses([IPAddress])
  /// Why there is none, in words.
  case failed(String)
}

/// The last good answer for each name, and what became of asking.
struct NameTable {
  /// What an answer means.
  enum Verdict: Equatable {
    /// Other addresses than before.
    case changed(added: [IPAddress], removed: [IPAddress])
    /// The same addresses, in whatever order: name servers shuffle them.
    case same
    /// No answer, after one that was good: the last good one stays.
    case failed(String)
    /// Again no answer.
    case stillFailed
    /// The same addresses, after look-ups that had failed.
    case recovered
  }

  private struct Entry {
    var addresses: [IPAddress]
    var isFailing = false
    var failures = 0
  }

  private var entries: [String: Entry] = [:]

  /// What a topology is built from.
  var resolutions: [String: Resolution] {
    entries.mapValues { .addresses($0.addresses) }
  }

  /// How often looking up each name has failed.
  var failures: [String: Int] { entries.mapValues(\.failures) }

  /// The names whose last look-up has failed, in alphabetical order.
  var failing: [String] { entries.filter(\.value.isFailing).map(\.key).sorted() }

  /// Whether a name has been looked up with success.
  func knows(_ name: String) -> Bool { entries[name] != nil }

  /// Takes the first answer for a name.
  mutating func learn(_ name: String, _ addresses: [IPAddress]) {
    precondition(!addresses.isEmpty)
    entries[name] = Entry(addresses: addresses)
  }

  /// Takes another answer for a name that is known, and says what it means. New addresses come behind
  /// those that stay, which keep their order.
  mutating func note(_ name: String, _ resolution: Resolution) -> Verdict {
    guard var entry = entries[name] else {
      preconditionFailure("an answer for a name that nobody asked about")
    }
    defer { entries[name] = entry }
    let wasFailing = entry.isFailing
    switch resolution {
    case .failed(let reason):
      entry.isFailing = true
      entry.failures += 1
      return wasFailing ? .stillFailed : .failed(reason)
    case .addresses(let addresses):
      entry.isFailing = false
      let known = Set(entry.addresses)
      let answered = Set(addresses)
      let added = addresses.filter { !known.contains($0) }
      let removed = entry.addresses.filter { !answered.contains($0) }
      guard !added.isEmpty || !removed.isEmpty else { return wasFailing ? .recovered : .same }
      entry.addresses = entry.addresses.filter(answered.contains) + added
      return .changed(added: added, removed: removed)
    }
  }

  /// Forgets all names but these.
  mutating func keep(only names: Set<String>) {
    entries = entries.filter { names.contains($0.key) }
  }
}
