// SPDX-License-Identifier: Apache-2.0
// Every answer of the admin interface. They are for machines, which read the status, and for people
// with curl, who read a line that says what to do. Nothing of the request is ever repeated in them.

import HTTP1
import HTTPTypes

/// An answer, before it is known to whom it goes.
struct AdminResponse: Hashable, Sendable {
  var status: HTTPResponse.Status
  var contentType = "text/plain; charset=utf-8"
  var content: [UInt8]
  /// Whether the connection must end with this: nobody knows where the next request begins, or it is
  /// told off.
  var closes = false

  private init(_ status: HTTPResponse.Status, _ text: String, closes: Bool = false) {
    self.status = status
    content = Array(text.utf8)
    self.closes = closes
  }

  /// The loop turns.
  static let live = AdminResponse(.ok, "ok\n")

  /// Clients should come, or not, and why.
  static func readiness(_ readiness: Readiness) -> AdminResponse {
    let lines =
      (readiness.isReady ? ["ok"] : readiness.reasons)
      + readiness.notes.map { "note: \($0)" }
    // A reason is one line, whatever somebody else has put into it.
    let text = lines.map { $0.split(whereSeparator: \.isNewline).joined(separator: " ") + "\n" }
      .joined()
    return AdminResponse(readiness.isReady ? .ok : .serviceUnavailable, text)
  }

  /// The metrics, as text in a format.
  static func metrics(_ text: [UInt8], _ format: ExpositionFormat) -> AdminResponse {
    var response = AdminResponse(.ok, "")
    response.contentType = format.contentType
    response.content = text
    return response
  }

  /// The metrics could not be had.
  static func noMetrics(_ reason: String) -> AdminResponse {
    AdminResponse(.serviceUnavailable, "the metrics cannot be collected now: \(reason)\n")
  }

  static let notFound = AdminResponse(
    .notFound,
    "there is no such page here; there are "
      + AdminPage.allCases.map(\.rawValue).joined(separator: ", ") + "\n")

  static let methodNotAllowed = AdminResponse(
    .methodNotAllowed, "pages can be read with GET and HEAD, and nothing else\n", closes: true)

  static let contentNotTaken = AdminResponse(
    .contentTooLarge, "a request must have no content\n", closes: true)

  static let tooSlow = AdminResponse(
    .requestTimeout, "the request did not arrive in time\n", closes: true)

  static let tooManyConnections = AdminResponse(
    .serviceUnavailable, "there are too many connections; try again later\n", closes: true)

  /// What arrived is no request.
  static func malformed(_ error: MessageError) -> AdminResponse {
    AdminResponse(error.status, "\(error)\n", closes: true)
  }

  /// The bytes of the answer. `closing`: the connection ends with it; `date` is that of now.
  func serialized(answering method: HTTPRequest.Method, closing: Bool, date: String) -> [UInt8] {
    var fields: HTTPFields = [
      .date: date, .contentType: contentType,
      // Each answer is true for its moment alone.
      .cacheControl: "no-store",
      // A browser shall show text as text.
      .xContentTypeOptions: "nosniff",
    ]
    if status == .methodNotAllowed { fields[.allow] = "GET, HEAD" }
    if closing { fields[.connection] = "close" }
    return HTTPResponse(status: status, headerFields: fields)
      .serialized(content: content, answering: method)
  }
}
