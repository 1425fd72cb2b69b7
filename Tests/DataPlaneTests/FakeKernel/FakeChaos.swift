// SPDX-License-Identifier: Apache-2.0
// What the fake kernel does by chance: short transfers, calls that would block once more, reports
// that say nothing new. All of it follows from one seed.

import Balancing
import Reactor
import SystemPackage

/// The dice of a fake kernel, and how often they are thrown. All off at first.
final class FakeChaos {
  private var random: SplitMix64
  /// Of a thousand transfers, how many are cut short or put off.
  var transferPerMille = 0
  /// Of a thousand waits, how many report something that has not changed.
  var reportPerMille = 0
  /// Of a thousand calls that make a descriptor or a registration, how many fail.
  var resourcePerMille = 0
  /// Of a thousand transfers of bytes, how many fail for want of memory.
  var shortagePerMille = 0
  /// Of a thousand arrivals, how many hold urgent data.
  var urgentPerMille = 0
  /// Whether events come in any order instead of that of their arrival.
  var shufflesEvents = false

  init(seed: UInt64) {
    random = SplitMix64(seed: seed)
  }

  func happens(_ perMille: Int) -> Bool {
    perMille > 0 && below(1000) < perMille
  }

  func below(_ bound: Int) -> Int {
    Int(random.next(below: UInt64(bound)))
  }

  func within(_ range: ClosedRange<Int>) -> Int {
    range.lowerBound + below(range.count)
  }

  func shuffle<Element>(_ elements: inout [Element]) {
    elements.shuffle(using: &random)
  }

  // MARK: Shortages

  static let memoryErrors: [Errno] = [.noMemory, .noBufferSpace]
  static let descriptorErrors: [Errno] = [
    .tooManyOpenFiles, .noMemory, .tooManyOpenFilesInSystem, .noBufferSpace,
  ]
  /// ENOSPC: the watches of the user are used up (epoll_ctl(2)).
  static let registerErrors: [Errno] = [.noSpace, .noMemory]

  /// Why a call that makes something fails, `nil` if it does not.
  func shortage(of errors: [Errno]) -> Errno? {
    happens(resourcePerMille) ? errors[below(errors.count)] : nil
  }

  /// Why a call that moves bytes fails, `nil` if it does not.
  func transferShortage() -> Errno? {
    happens(shortagePerMille) ? FakeChaos.memoryErrors[below(FakeChaos.memoryErrors.count)] : nil
  }
}
