// How a run ends that cannot go on: one line on standard error, and a code. A load that hides an
// error would measure something else than it says.

import Glibc

/// Ends the process with what failed and why.
func fail(_ what: String, code: Int32 = 1) -> Never {
  let line = "load: \(what)\n"
  _ = line.withCString { write(STDERR_FILENO, $0, strlen($0)) }
  exit(code)
}

/// Ends the process when a system call of Glibc failed; else its value.
@discardableResult
func require<Value: SignedInteger>(_ value: Value, _ what: String) -> Value {
  if value == -1 { fail("\(what): \(String(cString: strerror(errno)))") }
  return value
}

/// Ends the process when a call of CLoad failed; else its value.
@discardableResult
func requireCode(_ value: Int32, _ what: String) -> Int32 {
  if value < 0 { fail("\(what): \(String(cString: strerror(-value)))") }
  return value
}
