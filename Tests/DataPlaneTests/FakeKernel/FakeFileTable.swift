// SPDX-License-Identifier: Apache-2.0
// The descriptors of the fake kernel. They are given out lowest first, as Linux does, so that a number
// that was just closed soon belongs to another file.

import CLinux
import Glibc
import Reactor

/// Open files by descriptor.
struct FakeFileTable {
  private static let first = 3

  private var files: [FakeFile?] = Array(repeating: nil, count: first)
  private var lowestFree = first
  private(set) var count = 0

  subscript(descriptor: CInt) -> FakeFile? {
    get { files.indices.contains(Int(descriptor)) ? files[Int(descriptor)] : nil }
    set {
      let position = Int(descriptor)
      count += (newValue == nil ? 0 : 1) - (files[position] == nil ? 0 : 1)
      files[position] = newValue
      if newValue == nil { lowestFree = min(lowestFree, position) }
    }
  }

  mutating func open(_ file: FakeFile) -> CInt {
    while lowestFree < files.count, files[lowestFree] != nil { lowestFree += 1 }
    if lowestFree == files.count { files.append(nil) }
    let descriptor = CInt(lowestFree)
    self[descriptor] = file
    return descriptor
  }

  var openDescriptors: [CInt] {
    files.indices.filter { files[$0] != nil }.map { CInt($0) }
  }
}

extension KernelAddress {
  /// The port of a TCP address; for a unix socket the number that its name consists of (`/9000`).
  var fakePort: UInt16 {
    withSockaddr { address, length in
      let raw = UnsafeRawPointer(address)
      guard !isIP else { return raw.loadUnaligned(as: sockaddr_in.self).sin_port.bigEndian }
      let name = UnsafeRawBufferPointer(start: raw, count: Int(length))
      let digits = name.dropFirst(MemoryLayout<sa_family_t>.size).filter { (48...57).contains($0) }
      return UInt16(String(decoding: digits, as: UTF8.self)) ?? 0
    }
  }
}
