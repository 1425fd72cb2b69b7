// SPDX-License-Identifier: Apache-2.0
// What this process may use: processors and open files. Asked once, at the start.

import CLinux
import Glibc
import SystemPackage

/// The processors that this process may use, by affinity and by the quota of its control group.
public struct AvailableProcessors: Equatable, Sendable {
  /// How many processors the affinity mask has (sched_getaffinity(2)).
  public let affinity: Int
  /// How many the control group's quota pays for, in thousandths; `nil`: no quota.
  public let quotaThousandths: Int?

  /// Takes both numbers.
  public init(affinity: Int, quotaThousandths: Int?) {
    self.affinity = affinity
    self.quotaThousandths = quotaThousandths
  }

  /// How many threads can run at once all the time: the affinity, at most the quota rounded down,
  /// at least one. A thread more than the quota pays for is throttled in the middle of its work.
  public var whole: Int {
    max(1, min(affinity, quotaThousandths.map { $0 / 1000 } ?? affinity))
  }

  /// Reads both from the kernel. A quota is looked for in this process's control group and all
  /// above it (cgroups(7), version 2, then version 1).
  public static func current() -> AvailableProcessors {
    let affinity = affinityCount(clinux_cpu_count) ?? Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    return AvailableProcessors(affinity: max(1, affinity), quotaThousandths: controlGroupQuota())
  }

  /// Asks with a larger mask as long as the kernel says that it is too small: the kernel may be made
  /// for more processors than there are, and than cpu_set_t has bits. `nil` if it does not tell.
  static func affinityCount(_ ask: (_ possible: CInt) -> CInt) -> Int? {
    var possible: CInt = 1024
    while true {
      let count = ask(possible)
      if count > 0 { return Int(count) }
      guard count == -EINVAL, possible < 1 << 24 else { return nil }
      possible *= 2
    }
  }

  private static func controlGroupQuota() -> Int? {
    guard let groups = readSmallFile("/proc/self/cgroup") else { return nil }
    var lowest: Int?
    for line in groups.split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3 else { continue }
      let isVersion2 = parts[0] == "0" && parts[1].isEmpty
      guard isVersion2 || parts[1].split(separator: ",").contains("cpu") else { continue }
      let root = isVersion2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu"
      var path = parts[2] == "/" ? "" : String(parts[2])
      while true {
        let quota =
          isVersion2
          ? readSmallFile(root + path + "/cpu.max").flatMap(quotaThousandths(cpuMax:))
          : quotaThousandths(
            quota: readSmallFile(root + path + "/cpu.cfs_quota_us"),
            period: readSmallFile(root + path + "/cpu.cfs_period_us"))
        if let quota { lowest = min(lowest ?? quota, quota) }
        guard let slash = path.lastIndex(of: "/") else { break }
        path = String(path[..<slash])
      }
    }
    return lowest
  }

  /// Reads `cpu.max`: `QUOTA PERIOD` in microseconds, or `max PERIOD` for none.
  static func quotaThousandths(cpuMax text: String) -> Int? {
    let parts = text.split(whereSeparator: { $0 == " " || $0 == "\n" })
    guard parts.count == 2 else { return nil }
    return quotaThousandths(quota: String(parts[0]), period: String(parts[1]))
  }

  static func quotaThousandths(quota: String?, period: String?) -> Int? {
    func number(_ text: String?) -> Int? {
      text.flatMap { Int($0.prefix { $0 != "\n" }) }
    }
    guard let quota = number(quota), let period = number(period) else { return nil }
    guard quota > 0, period > 0 else { return nil }
    return Int(min(Double(quota) / Double(period) * 1000, 1e9))
  }
}

/// Raises the soft limit of open files to the hard one (setrlimit(2)) and returns it.
public func raiseOpenFilesLimit() -> Int {
  var limit = rlimit()
  getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  if limit.rlim_cur < limit.rlim_max {
    var raised = limit
    raised.rlim_cur = limit.rlim_max
    if setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &raised) == 0 { limit = raised }
  }
  return Int(clamping: limit.rlim_cur)
}

/// The hard limit of open files, to which `raiseOpenFilesLimit` would raise the soft one. Changes nothing.
public func openFilesHardLimit() -> Int {
  var limit = rlimit()
  getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  return Int(clamping: limit.rlim_max)
}

/// The first 4 KiB of a file, for the small ones in /proc and /sys; `nil` if it cannot be read.
func readSmallFile(_ path: String) -> String? {
  let number = open(path, O_RDONLY | O_CLOEXEC)
  guard number != -1 else { return nil }
  let file = Descriptor(owning: number)
  var bytes = [UInt8](repeating: 0, count: 4096)
  let count = read(file.rawValue, &bytes, bytes.count)
  guard count >= 0 else { return nil }
  return String(decoding: bytes[..<count], as: UTF8.self)
}
