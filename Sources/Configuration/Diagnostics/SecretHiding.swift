// SPDX-License-Identifier: Apache-2.0
// Reports show lines of the file, and go to terminals, logs of builds and chats. What stands behind a key
// for a secret is not shown, whatever the fault is: the line is looked at as text, since a file may be broken
// before anything is known about it.

/// The keys of secrets.
private let secretKeys = ["password"].map { Array($0.unicodeScalars) }

/// A line with every value of a secret's key replaced by dots, as many as there were characters, so that
/// whatever points into the line still points there. What comes from the environment is not in the file: of
/// `${NAME}` the name stays.
func hidingSecrets(in line: String) -> String {
  // Most lines have none, and a line may have megabytes.
  guard line.utf8.count < 1 << 20, secretKeys.contains(where: line.unicodeScalars.contains)
  else { return line }
  var scalars = Array(line.unicodeScalars)
  for key in secretKeys {
    var position = 0
    while position + key.count <= scalars.count {
      guard scalars[position..<position + key.count].elementsEqual(key) else {
        position += 1
        continue
      }
      position += key.count
      guard let value = valueRange(behind: position, in: scalars) else { continue }
      let isFromEnvironment = scalars[value].starts(with: "${".unicodeScalars)
      if !isFromEnvironment { for index in value { scalars[index] = "•" } }
      position = value.upperBound
    }
  }
  var hidden = String.UnicodeScalarView()
  hidden.append(contentsOf: scalars)
  return String(hidden)
}

/// Where the value of a key stands that ends at `position`, without its quotes; `nil` if no colon follows.
private func valueRange(behind position: Int, in scalars: [Unicode.Scalar]) -> Range<Int>? {
  var start = position
  // The key may have quotes.
  if start < scalars.count, scalars[start] == "\"" || scalars[start] == "'" { start += 1 }
  while start < scalars.count, scalars[start] == " " { start += 1 }
  guard start < scalars.count, scalars[start] == ":" else { return nil }
  start += 1
  while start < scalars.count, scalars[start] == " " { start += 1 }
  guard start < scalars.count else { return nil }
  let quote = scalars[start]
  if quote == "\"" || quote == "'" {
    start += 1
    var end = start
    while end < scalars.count, scalars[end] != quote {
      end += quote == "\"" && scalars[end] == "\\" ? 2 : 1
    }
    return start..<min(end, scalars.count)
  }
  if scalars[start...].starts(with: "${".unicodeScalars) {
    let end = scalars[start...].firstIndex(of: "}") ?? scalars.count - 1
    return start..<end + 1
  }
  var end = start
  while end < scalars.count, ![",", "}", "]"].contains(scalars[end]) {
    if scalars[end] == " ", end + 1 < scalars.count, scalars[end + 1] == "#" { break }
    end += 1
  }
  return start..<end
}
