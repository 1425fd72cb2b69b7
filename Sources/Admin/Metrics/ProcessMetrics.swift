// SPDX-License-Identifier: Apache-2.0
// What the kernel says of this process, under the names that every Prometheus client library uses
// (proc(5)). The files of /proc are read by name and field; a line that looks otherwise than expected
// gives no number rather than a wrong one.

import Glibc

/// The resources of a process at one moment. What could not be read is `nil`.
public struct ProcessMetrics: Hashable, Sendable {
  /// When it started, in seconds since 1970.
  public var startTime: Double?
  /// The processor time it has used, in seconds.
  public var processorSeconds: Double?
  /// The memory that is in RAM, in bytes.
  public var residentBytes: UInt64?
  /// The descriptors that are open.
  public var openDescriptors: UInt64?
  /// How many descriptors can be open; `nil` also if there is no limit.
  public var descriptorsMax: UInt64?

  /// Asks the kernel about this process. Reads files of /proc, so it does not belong on a loop's thread:
  /// for descriptors, kernels before 6.2 list all of them.
  public static func current() -> ProcessMetrics {
    let pageBytes = UInt64(sysconf(CInt(_SC_PAGESIZE)))
    var metrics = ProcessMetrics()
    metrics.startTime = startOfThisProcess
    // Finer than the ticks of /proc.
    metrics.processorSeconds = seconds(of: CLOCK_PROCESS_CPUTIME_ID)
    metrics.residentBytes = contents(of: "/proc/self/statm").flatMap(residentPages)
      .map { $0 * pageBytes }
    metrics.openDescriptors = countDescriptors()
    var limit = rlimit()
    if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0,
      limit.rlim_cur != rlim_t.max
    {
      metrics.descriptorsMax = UInt64(limit.rlim_cur)
    }
    return metrics
  }

  /// Worked out once: whenever somebody sets the clock, the start of the machine moves, and a process
  /// whose start moves looks restarted. /proc/stat has the start of the machine, too, but a service manager
  /// may hide it (`ProcSubset=pid`).
  private static let startOfThisProcess: Double? = {
    guard let ticks = contents(of: "/proc/self/stat").flatMap(startTicks),
      let now = seconds(of: CLOCK_REALTIME), let sinceBoot = seconds(of: CLOCK_BOOTTIME)
    else { return nil }
    return now - sinceBoot + Double(ticks) / Double(sysconf(CInt(_SC_CLK_TCK)))
  }()

  /// The process's start in clock ticks since that of the machine, of /proc/self/stat: its 22nd field.
  /// The second one is the program's name in parentheses, which may hold anything.
  static func startTicks(_ text: String) -> UInt64? {
    guard let end = text.lastIndex(of: ")") else { return nil }
    let fields = text[end...].dropFirst().split(separator: " ")
    return fields.count > 19 ? UInt64(fields[19]) : nil
  }

  /// The second field of /proc/self/statm.
  static func residentPages(_ text: String) -> UInt64? {
    let fields = text.split(separator: " ")
    return fields.count > 1 ? UInt64(fields[1]) : nil
  }

  private static func seconds(of clock: clockid_t) -> Double? {
    var time = timespec()
    guard clock_gettime(clock, &time) == 0 else { return nil }
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  private static func countDescriptors() -> UInt64? {
    var status = stat()
    // Since Linux 6.2 the size of the folder is the number; it is 0 before.
    if stat("/proc/self/fd", &status) == 0, status.st_size > 0 { return UInt64(status.st_size) }
    guard let folder = opendir("/proc/self/fd") else { return nil }
    defer { closedir(folder) }
    var entries: UInt64 = 0
    while readdir(folder) != nil { entries += 1 }
    // Without `.`, `..` and the descriptor that reads it.
    return entries >= 3 ? entries - 3 : nil
  }

  /// A small file as text; `nil` if it cannot be read.
  private static func contents(of path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    // What is read here has one line; a bound, in case it is something else.
    while bytes.count < 1 << 16 {
      let count = read(descriptor, &chunk, chunk.count)
      if count == -1 && errno == EINTR { continue }
      guard count > 0 else { break }
      bytes += chunk[..<count]
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension ProcessMetrics {
  /// The numbers under their customary names.
  var families: [MetricFamily] {
    func family(
      _ name: String, _ kind: MetricKind, _ help: String, _ value: MetricValue?
    ) -> MetricFamily {
      MetricFamily(name, kind, help, value.map { [MetricSample([], $0)] } ?? [])
    }
    return [
      family(
        "process_start_time_seconds", .gauge, "When the process started, since 1970.",
        startTime.map { .real($0) }),
      family(
        "process_cpu_seconds", .counter, "Processor time of all threads, user and system.",
        processorSeconds.map { .real($0) }),
      family(
        "process_resident_memory_bytes", .gauge, "Memory of the process that is in RAM.",
        residentBytes.map { .count($0) }),
      family(
        "process_open_fds", .gauge, "Descriptors that are open.",
        openDescriptors.map { .count($0) }),
      family(
        "process_max_fds", .gauge, "How many descriptors can be open.",
        descriptorsMax.map { .count($0) }),
    ]
  }
}
