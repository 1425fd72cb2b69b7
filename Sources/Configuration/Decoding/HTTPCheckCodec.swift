// SPDX-License-Identifier: Apache-2.0
// The description of the request of an HTTP check, and of the answers that are good. What is sent is
// put together from these parts without looking at them again, so no part may hold what would end it
// early: a line end, a space in a path, a name that is no token (RFC 9110, RFC 9112).

import Plan

private let standard = HTTPCheckPlan()

/// A character of a token (RFC 9110, section 5.6.2), and one of a value, where `$$` is a dollar.
private let tokenPattern = "[!#$%&'*+.^_`|~0-9A-Za-z-]"
private let tokenInValuePattern = #"([!#%&'*+.^_`|~0-9A-Za-z-]|\$\$)"#

extension Codec<HTTPCheckDraft> {
  /// `http:` of a check.
  static var httpCheck: Codec {
    let other = "it belongs to `check`, beside `http`"
    return .object(
      "http check",
      "A request without a body, as HTTP/1.1 and without TLS, on a connection of its own.",
      HTTPCheckDraft(),
      notes: [
        "uri": "did you mean `path`?", "url": "did you mean `path`?",
        "expect": "did you mean `status`, or `body`?", "code": "did you mean `status`?",
        "codes": "did you mean `status`?", "contains": "did you mean `body`?",
        "match": "did you mean `body`?", "port": other, "address": other, "every": other,
        "timeout": other, "rise": other, "fall": other,
      ],
      fields: [
        field(
          "method", \.method, .httpMethod, standard: standard.method,
          "What the endpoint is asked to do."),
        field(
          "path", \.path, .requestPath, standard: standard.path,
          "What is asked for, perhaps with a query."),
        field(
          "host", \.host, ScalarCodec.httpHost.codec,
          "The `Host` of the request; without it, the endpoint's host name or address, and the port "
            + "that is asked unless that is 80. For a unix socket it is `localhost`."),
        field(
          "headers", \.headers, .headers,
          "Further header fields, at most \(headersMax)."),
        field(
          "status", \.statuses,
          .either(
            scalar: ScalarCodec.statuses.codec.asList,
            list: .list(ScalarCodec.statuses.codec, countMin: 1)),
          shown: .array(standard.statuses.map(ScalarCodec.statuses.encode)),
          "Which status codes are good."),
        field(
          "body", \.body, ScalarCodec.bodyPart.located,
          "What the body of an answer must hold, byte for byte; without it, no body is read."),
        field(
          "answer", \.answerBytesMax, .size((1 << 10)...(16 << 20)),
          standard: standard.answerBytesMax,
          "How much of an answer is read at most. Its head must fit, and `body` is looked for within "
            + "it."),
      ])
  }
}

private let headersMax = 32

/// Header fields that the request has anyway, or whose meaning the check could not keep.
private let refusedHeaders: KeyNotes = {
  let framing = "the request has no body"
  let connection = "a check says `Connection: close` itself"
  return [
    "host": "use the key `host`", "content-length": framing, "transfer-encoding": framing,
    "trailer": framing, "te": connection, "connection": connection, "keep-alive": connection,
    "upgrade": connection, "proxy-connection": connection, "expect": framing,
  ]
}()

extension Codec<[HTTPCheckPlan.Header]> {
  fileprivate static var headers: Codec {
    let keys = KeyForm(
      word: "header name", accepted: "1 to 64 letters, digits, or any of ``!#$%&'*+-.^_`|~``",
      pattern: "\(tokenPattern){1,64}", examples: ["X-Check", "Authorization"],
      slips: ["a b", "", "ü", "X-Check:", "a/b", String(repeating: "n", count: 65)],
      accepts: { (1...64).contains($0.utf8.count) && $0.utf8.allSatisfy(isTokenByte) })
    let named = Codec<[Named<String>]>.named(ScalarCodec.headerValue.codec, empty: "", keys: keys)
    return Codec(shape: named.shape) { node, place, diagnostics in
      guard let fields = named.decode(node, at: place, &diagnostics) else { return nil }
      var lines: [String: Int] = [:]
      for field in fields {
        let name = field.name.lowercased()
        if let reason = refusedHeaders[name] {
          diagnostics.error(
            at: field.range, "\(quoted(field.name)) cannot be set here", hints: [reason],
            isShape: false)
        }
        if let line = lines.updateValue(field.range.start.line, forKey: name) {
          diagnostics.error(
            at: field.range, "the header field \(quoted(field.name)) is already there",
            hints: ["it is in line \(line); case makes no difference"], isShape: false)
        }
      }
      if fields.count > headersMax {
        diagnostics.error(
          at: node.headRange,
          "there are \(fields.count) header fields here, at most \(headersMax) are accepted",
          isShape: false)
      }
      return fields.map { HTTPCheckPlan.Header(name: $0.name, value: $0.value) }
    }
  }
}

extension ScalarCodec<String> {
  fileprivate static var httpMethod: ScalarCodec {
    let known = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE"]
    return .text(
      "an HTTP method like `GET`, `HEAD`, `OPTIONS`",
      patterns: [tokenInValuePattern + "+"],
      examples: ["GET", "HEAD", "OPTIONS"], encode: { $0 }
    ) { text throws(Refusal) in
      guard text.utf8.allSatisfy(isTokenByte) else { throw Refusal("is no HTTP method") }
      try requireBytes(text.utf8.count, max: 32)
      guard text != "CONNECT" else {
        throw Refusal("asks for a tunnel, which is no check", isShape: false)
      }
      let upper = text.uppercased()
      guard text == upper || !known.contains(upper) else {
        throw Refusal(
          "is not a method: their case matters", hint: "write `\(upper)`", isShape: false)
      }
      return text
    }
  }

  fileprivate static var requestPath: ScalarCodec {
    .text(
      "a path that begins with `/`",
      patterns: [#"/([A-Za-z0-9._~!&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2}|\$\$)*"#],
      examples: ["/", "/health", "/ready?full=1"], encode: { $0 }
    ) { text throws(Refusal) in
      let bytes = Array(text.utf8)
      if firstIndex(of: "://", in: bytes) != nil, bytes.first != UInt8(ascii: "/") {
        throw Refusal("is a URL", hint: "write the path only; the host belongs to `host`")
      }
      guard bytes.first == UInt8(ascii: "/") else {
        throw Refusal("does not begin with `/`", hint: "write `/\(escaped(text, scalarsMax: 60))`")
      }
      guard !bytes.contains(UInt8(ascii: " ")) else {
        throw Refusal("has a space in it", hint: "a space in a path is `%20`")
      }
      guard !bytes.contains(UInt8(ascii: "#")) else {
        throw Refusal("has a fragment, which is never sent", hint: "leave out what follows the `#`")
      }
      guard isRequestTarget(bytes[...]) else {
        throw Refusal(
          "is no path as URLs have it",
          hint: "other characters are percent-encoded: `ü` is `%C3%BC`, `%` itself `%25`")
      }
      try requireBytes(bytes.count, max: 2048)
      return text
    }
  }

  fileprivate static var httpHost: ScalarCodec {
    .text(
      "a host name or an IP address, perhaps with a port",
      patterns: [#"([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"#],
      examples: ["www.example.org", "www.example.org:8080", "[2001:db8::1]"], encode: { $0 }
    ) { text throws(Refusal) in
      guard firstIndex(of: "://", in: Array(text.utf8)) == nil else {
        throw Refusal("is a URL", hint: "write the host only; the path belongs to `path`")
      }
      guard isHostWithPort(Array(text.utf8)) else { throw Refusal("is no host") }
      try requireBytes(text.utf8.count, max: 255)
      return text
    }
  }

  fileprivate static var headerValue: ScalarCodec {
    .text(
      "the text of a header field", patterns: ["\(freeTextPattern)+"],
      examples: ["sluice", "Bearer 0123"], encode: { $0 }
    ) { text throws(Refusal) in
      let space = UInt8(ascii: " ")
      guard text.utf8.first != space, text.utf8.last != space else {
        throw Refusal("begins or ends with a space", isShape: false)
      }
      try requireBytes(text.utf8.count, max: 4096)
      return text
    }
  }

  fileprivate static var bodyPart: ScalarCodec {
    .text(
      "text", patterns: ["\(freeTextPattern)+"], examples: ["ok", "\"status\":\"up\""],
      encode: { $0 }
    ) { text throws(Refusal) in
      try requireBytes(text.utf8.count, max: 1024)
      return text
    }
  }
}

extension ScalarCodec<ClosedRange<Int>> {
  /// A status code, or a range of them.
  fileprivate static var statuses: ScalarCodec {
    let codes = 200...599
    return ScalarCodec(
      shape: ScalarShape(
        accepted: "a status code from 200 to 599, a range like `200-399`", integers: codes,
        patterns: ["[2-5][0-9]{2}-[2-5][0-9]{2}"], examples: ["200-399", "200-204", "404-404"]),
      parse: { scalar throws(Refusal) in
        let parts = scalar.text.utf8.split(
          separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        let numbers = parts.compactMap { part in
          part.count == 3 && part.allSatisfy(isDigit)
            ? Int(String(decoding: Array(part), as: UTF8.self)) : nil
        }
        guard numbers.count == parts.count, parts.count <= 2, let first = numbers.first,
          let last = numbers.last
        else { throw Refusal("is no status code") }
        guard parts.count == 2 || scalar.isPlain || scalar.isExpanded else {
          throw Refusal("is text, not a number, because of its quotes", hint: "remove the quotes")
        }
        guard first >= 200 else {
          throw Refusal("is never the last answer", hint: "answers begin at 200")
        }
        guard codes.contains(first), codes.contains(last) else {
          throw Refusal("is not from 200 to 599")
        }
        guard first <= last else {
          throw Refusal(
            "is a range that ends before it begins", hint: "write `\(last)-\(first)`",
            isShape: false)
        }
        return first...last
      },
      encode: { range in
        range.count == 1
          ? .integer(range.lowerBound) : .string("\(range.lowerBound)-\(range.upperBound)")
      }
    ).hinting { text in
      let bytes = Array(text.utf8)
      guard bytes.count == 3, let first = bytes.first, (0x32...0x35).contains(first),
        bytes[1...].allSatisfy({ $0 | 0x20 == UInt8(ascii: "x") })
      else { return nil }
      let digit = first - 0x30
      return "write `\(digit)00-\(digit)99`"
    }
  }
}

private func requireBytes(_ count: Int, max: Int) throws(Refusal) {
  guard count <= max else {
    throw Refusal("is too long: at most \(max) bytes are accepted", isShape: false)
  }
}

/// Whether this is a path with a query, each percent sign before two digits (RFC 3986).
private func isRequestTarget(_ bytes: ArraySlice<UInt8>) -> Bool {
  var rest = bytes
  while let byte = rest.popFirst() {
    if byte == UInt8(ascii: "%") {
      guard let high = rest.popFirst(), let low = rest.popFirst(), isHexadecimalDigit(high),
        isHexadecimalDigit(low)
      else { return false }
    } else {
      guard isLetter(byte) || isDigit(byte) || "._~!$&'()*+,;=:@/?-".utf8.contains(byte) else {
        return false
      }
    }
  }
  return true
}

/// Whether this is a name, an IPv4 address or an IPv6 address in brackets, and perhaps a port.
private func isHostWithPort(_ bytes: [UInt8]) -> Bool {
  let colon = UInt8(ascii: ":")
  var rest = bytes[...]
  if rest.first == UInt8(ascii: "[") {
    let host = rest.dropFirst().prefix {
      isHexadecimalDigit($0) || $0 == colon || $0 == UInt8(ascii: ".")
    }
    rest = rest[host.endIndex...]
    guard !host.isEmpty, rest.popFirst() == UInt8(ascii: "]") else { return false }
  } else {
    let host = rest.prefix { isLetter($0) || isDigit($0) || "_.-".utf8.contains($0) }
    rest = rest[host.endIndex...]
    guard !host.isEmpty else { return false }
  }
  guard let next = rest.popFirst() else { return true }
  return next == colon && (1...5).contains(rest.count) && rest.allSatisfy(isDigit)
}

private func isTokenByte(_ byte: UInt8) -> Bool {
  isLetter(byte) || isDigit(byte) || "!#$%&'*+-.^_`|~".utf8.contains(byte)
}
