// SPDX-License-Identifier: Apache-2.0
// Tables are address space, not memory.

import Glibc
import Reactor
import Testing

@Suite struct ZeroedMemoryTests {
  /// Whether the kernel lets programs map more than it could give (proc(5), `overcommit_memory`).
  private static var isOvercommitting: Bool {
    guard let file = fopen("/proc/sys/vm/overcommit_memory", "r") else { return false }
    defer { fclose(file) }
    return fgetc(file) != CInt(UInt8(ascii: "2"))
  }

  @Test(arguments: [0, 1, 4096, 1 << 20])
  func aTableIsZeroAndAlignedAndCanBeWritten(_ bytes: Int) throws {
    let memory = try zeroedMemory(bytes)
    #expect(Int(bitPattern: memory) % 64 == 0)
    let table = UnsafeMutableRawBufferPointer(start: memory, count: bytes)
    #expect(table.allSatisfy { $0 == 0 })
    for index in table.indices { table[index] = 0xFF }
    freeZeroedMemory(memory)
  }

  @Test(.enabled(if: isOvercommitting)) func aTableMayBeLargerThanTheMachine() throws {
    let bytes = 1 << 38
    let memory = try zeroedMemory(bytes)
    (memory + (bytes - 1)).storeBytes(of: 7, as: UInt8.self)
    #expect((memory + (bytes - 1)).load(as: UInt8.self) == 7)
    freeZeroedMemory(memory)
  }

  @Test(arguments: [1 << 60, Int.max - 4096, Int.max])
  func moreThanThereIsAddressSpaceForIsRefused(_ bytes: Int) {
    #expect(throws: Errno.noMemory) { _ = try zeroedMemory(bytes) }
  }
}
