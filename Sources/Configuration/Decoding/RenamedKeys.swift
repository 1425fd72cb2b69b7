// SPDX-License-Identifier: Apache-2.0
// Keys that had another name in an earlier version. A file with an old name is refused, and the report says
// the new one. Old names are neither in the schema nor in the reference.

/// From the old name of a key to its new one, by the name of the mapping (`ObjectShape.name`).
let renamedKeys: [String: [String: String]] = [
  "route": renamedRouteKeys,
  "route defaults": renamedRouteKeys,
  "outlier": ["eject": "eject_time", "eject_max": "max_eject_time", "share": "max_ejected"],
]

private let renamedRouteKeys = ["half_close": "half_close_timeout", "linger": "flush_timeout"]
