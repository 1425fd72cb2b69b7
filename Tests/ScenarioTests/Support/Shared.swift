// SPDX-License-Identifier: Apache-2.0
// What a test changes while a server of it, on another thread, looks at it.

import Reactor

/// A value for several threads.
final class Shared<Value: Sendable>: Sendable {
  private let current: Lock<Value>

  init(_ value: Value) {
    current = Lock(value)
  }

  var value: Value {
    get { current.withLock { $0 } }
    set { current.withLock { $0 = newValue } }
  }
}
