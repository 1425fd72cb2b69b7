// SPDX-License-Identifier: Apache-2.0
// Requests and the pages they are for.

import HTTP1
import HTTPTypes
import Testing

@testable import Admin

@Suite struct AdminPageTests {
  private func head(_ line: String, _ fields: String = "") throws -> RequestHead {
    var reader = RequestHeadReader()
    var input = Array("\(line) HTTP/1.1\r\nHost: localhost\r\n\(fields)\r\n".utf8)[...]
    return try #require(try reader.read(&input))
  }

  private func refusal(_ line: String, _ fields: String = "") throws -> Int? {
    let head = try head(line, fields)
    return AdminPage.refusal(of: head, for: AdminPage(head))?.status.code
  }

  @Test func pagesAreFoundByTheirPath() throws {
    #expect(AdminPage(try head("GET /livez")) == .live)
    #expect(AdminPage(try head("GET /readyz?verbose")) == .ready)
    #expect(AdminPage(try head("HEAD http://localhost/metrics")) == .metrics)
    for other in ["/", "/metrics/", "/Metrics", "/%6divez", "//livez", "/livez;x"] {
      #expect(AdminPage(try head("GET \(other)")) == nil)
    }
  }

  @Test func pagesAreReadAndNothingElse() throws {
    #expect(try refusal("GET /livez") == nil)
    #expect(try refusal("HEAD /metrics?x", "Content-Length: 0\r\n") == nil)
    #expect(try refusal("POST /metrics") == 405)
    #expect(try refusal("DELETE /metrics", "Content-Length: 3\r\n") == 405)
    #expect(try refusal("BREW /readyz") == 405)
    #expect(try refusal("OPTIONS *") == 405)
    #expect(try refusal("CONNECT localhost") == 405)
    #expect(try refusal("GET /") == 404)
    #expect(try refusal("POST /nowhere") == 404)
    #expect(try refusal("GET /livez", "Content-Length: 1\r\n") == 413)
    #expect(try refusal("GET /livez", "Transfer-Encoding: chunked\r\n") == 413)
  }
}
