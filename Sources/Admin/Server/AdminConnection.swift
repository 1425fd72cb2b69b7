// SPDX-License-Identifier: Apache-2.0
// One connection to the admin interface: requests are read, one after another, and answered in that
// order, also when they arrive together. Nobody can hold it open by sending slowly: a request has a
// deadline from its first byte, and so has the taking of an answer.

import EventLoop
import Glibc
import HTTP1
import HTTPTypes
import Reactor

/// A request, as far as it could be understood.
enum AdminRequest {
  /// It is for a page.
  case page(AdminPage, ExpositionFormat)
  /// It gets this instead; the page, if it was for one.
  case refused(AdminPage?, AdminResponse)
}

struct AdminConnection {
  let stream: EventLoop.Stream
  let loop: Loop
  let limits: AdminLimits
  /// Told when a request begins to arrive, with `true`, and when the next one is waited for.
  let onRequest: (Bool) -> Void

  private var reader: RequestHeadReader
  /// What has arrived and belongs to the next request.
  private var input: ArraySlice<UInt8> = []

  init(
    stream: EventLoop.Stream, loop: Loop, limits: AdminLimits, onRequest: @escaping (Bool) -> Void
  ) {
    self.stream = stream
    self.loop = loop
    self.limits = limits
    self.onRequest = onRequest
    reader = RequestHeadReader(limits: limits.head)
  }

  /// What is to be answered, and whether another request may follow.
  fileprivate struct Arrival {
    var request: AdminRequest
    var method = HTTPRequest.Method.get
    var keepsConnection = false
  }

  /// Serves requests until the connection ends, or must.
  mutating func serve(_ answer: (AdminRequest) async -> AdminResponse) async {
    do throws(StreamError) {
      for number in 1...limits.requestsMax {
        guard let arrival = try await next() else { return }
        let response = await answer(arrival.request)
        let closes = response.closes || !arrival.keepsConnection || number == limits.requestsMax
        try await send(response, answering: arrival.method, closing: closes)
        if response.closes { return try await endRefused() }
        if closes { return }
        onRequest(false)
      }
    } catch {
      end(error)
    }
  }

  /// Says no, whatever was asked.
  mutating func refuse(_ response: AdminResponse) async {
    do throws(StreamError) {
      try await send(response, answering: .get, closing: true)
      try await endRefused()
    } catch {
      end(error)
    }
  }

  /// The client may still be sending what was refused; its answer must arrive all the same. Waits, so that
  /// the connection keeps its place as long as its descriptor.
  private func endRefused() async throws(StreamError) {
    stream.close(expectingMore: true)
    try await stream.waitClosed()
  }

  private func end(_ error: StreamError) {
    switch error {
    // The program ends, or the place was given away: what was written is still delivered.
    case .cancelled, .closed: break
    // The client is gone, or does not read.
    case .deadlinePassed, .endOfStream, .tooLong, .failed: stream.abort()
    }
  }

  /// The next request; `nil` when there will be none.
  private mutating func next() async throws(StreamError) -> Arrival? {
    var deadline = self.deadline(in: input.isEmpty ? limits.idle : limits.timeout)
    if !input.isEmpty { onRequest(true) }
    while true {
      do throws(MessageError) {
        if let head = try reader.read(&input) { return Arrival(head) }
      } catch {
        return Arrival(request: .refused(nil, .malformed(error)))
      }
      let isNew = reader.isIdle
      let bytes: [UInt8]
      do throws(StreamError) {
        bytes = try await stream.read(max: limits.head.bytesMax, until: deadline)
      } catch {
        guard error == .deadlinePassed else { throw error }
        return isNew ? nil : Arrival(request: .refused(nil, .tooSlow))
      }
      // A request that was begun and is never completed is nobody's any more.
      if bytes.isEmpty { return nil }
      if isNew {
        onRequest(true)
        deadline = self.deadline(in: limits.timeout)
      }
      input = bytes[...]
    }
  }

  private func send(
    _ response: AdminResponse, answering method: HTTPRequest.Method, closing: Bool
  ) async throws(StreamError) {
    let bytes = response.serialized(
      answering: method, closing: closing, date: httpDate(time(nil)))
    try stream.write(bytes)
    try await stream.drain(until: deadline(in: limits.timeout))
  }

  private func deadline(in duration: Duration) -> Instant {
    loop.now.advanced(by: duration.wholeNanoseconds)
  }
}

extension AdminConnection.Arrival {
  fileprivate init(_ head: RequestHead) {
    let page = AdminPage(head)
    if let refusal = AdminPage.refusal(of: head, for: page) {
      request = .refused(page, refusal)
    } else if let page {
      let accept = head.request.headerFields[values: .accept]
      request = .page(page, ExpositionFormat(accept: accept))
    } else {
      request = .refused(nil, .notFound)
    }
    method = head.request.method
    // HTTP/1.0 has no sure way to ask for more: those who speak it open another connection.
    keepsConnection = head.keepsConnection && head.version == .http11
  }
}
