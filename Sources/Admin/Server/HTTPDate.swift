// SPDX-License-Identifier: Apache-2.0
// The date as HTTP writes it (RFC 9110, section 5.6.7): in English whatever the locale, in UTC.

import Glibc

/// A moment as the value of a Date field, like `Sun, 06 Nov 1994 08:49:37 GMT`. `seconds` since 1970.
func httpDate(_ seconds: Int) -> String {
  var time = time_t(seconds)
  var parts = tm()
  gmtime_r(&time, &parts)
  let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
  let months = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
  ]
  func padded(_ number: CInt, to width: Int = 2) -> String {
    let digits = "\(number)"
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }
  return "\(days[Int(parts.tm_wday)]), \(padded(parts.tm_mday)) \(months[Int(parts.tm_mon)]) "
    + "\(padded(parts.tm_year + 1900, to: 4)) \(padded(parts.tm_hour)):\(padded(parts.tm_min)):"
    + "\(padded(parts.tm_sec)) GMT"
}
