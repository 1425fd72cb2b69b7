// SPDX-License-Identifier: Apache-2.0
// The kinds of checks that speak a protocol of their own, and what can be set for each.

import Matching

/// A TLS handshake that is begun and not finished: a ClientHello, of TLS 1.2 and 1.3.
public struct TLSCheckPlan: Hashable, Sendable {
  /// The name that is asked for (RFC 6066, section 3); `nil`: the endpoint's host name, if it has one.
  public var serverName: String?

  /// Makes a handshake.
  public init(serverName: String? = nil) {
    self.serverName = serverName
  }
}

/// Bytes that are sent, and bytes that must come back, by turns.
public struct ExchangeCheckPlan: Hashable, Sendable {
  /// One step.
  public enum Step: Hashable, Sendable {
    /// These bytes are sent. Never empty.
    case send([UInt8])
    /// These bytes must come, behind whatever else. Never empty.
    case expect([UInt8])
    /// Bytes must come that match this.
    case match(BytePattern)
  }

  /// What is done, in this order. Never empty.
  public var steps: [Step]
  /// How many bytes are read in all, at most.
  public var answerBytesMax: Int

  /// Makes an exchange; the default is that of the configuration.
  public init(steps: [Step], answerBytesMax: Int = 64 << 10) {
    self.steps = steps
    self.answerBytesMax = answerBytesMax
  }
}

/// A question to a Redis server, or one that speaks its protocol.
public struct RedisCheckPlan: Hashable, Sendable {
  /// What a server may be in a group that replicates.
  public enum Role: Hashable, Sendable {
    /// It takes writes.
    case master
    /// It follows another one.
    case replica
  }

  /// The role that it must have; `nil`: it must answer.
  public var role: Role?
  /// Who logs in; `nil`: the default user. Only with a password.
  public var username: String?
  /// The password; `nil`: nobody logs in.
  public var password: Secret?

  /// Makes a question.
  public init(role: Role? = nil, username: String? = nil, password: Secret? = nil) {
    self.role = role
    self.username = username
    self.password = password
  }
}

/// A question to a PostgreSQL server.
public struct PostgresCheckPlan: Hashable, Sendable {
  /// What a server may be in a group that replicates.
  public enum Role: Hashable, Sendable {
    /// It takes writes.
    case primary
    /// It follows another one.
    case standby
  }

  /// The role that it must have; `nil`: it must answer.
  public var role: Role?
  /// Who the check says that it is.
  public var user: String
  /// Which database it asks for.
  public var database: String
  /// The password; `nil`: none is sent.
  public var password: Secret?

  /// Whether the check must log in: for a role, and where there is a password to try.
  public var logsIn: Bool { role != nil || password != nil }

  /// Makes a question; the defaults are those of the configuration.
  public init(
    role: Role? = nil, user: String = "sluice", database: String = "postgres",
    password: Secret? = nil
  ) {
    self.role = role
    self.user = user
    self.database = database
    self.password = password
  }
}

/// A visit to a MySQL or MariaDB server.
public struct MySQLCheckPlan: Hashable, Sendable {
  /// Who logs in and leaves again; `nil`: nobody is expected to get in.
  public var user: String?
  /// The password; `nil`: none. Only with a user.
  public var password: Secret?

  /// Makes a visit.
  public init(user: String? = nil, password: Secret? = nil) {
    self.user = user
    self.password = password
  }
}

/// A visit to a mail server.
public struct SMTPCheckPlan: Hashable, Sendable {
  /// What the check calls itself.
  public var hello: String

  /// Makes a visit; the default is that of the configuration.
  public init(hello: String = "localhost") {
    self.hello = hello
  }
}

/// A program that is run.
public struct ScriptCheckPlan: Hashable, Sendable {
  /// The program's absolute path, and behind it its arguments. Never empty.
  public var command: [String]

  /// Makes a program to run.
  public init(command: [String]) {
    self.command = command
  }
}

extension HealthCheckPlan.Kind {
  /// The key of the configuration that it is written under.
  public var name: String {
    switch self {
    case .tcp: "tcp"
    case .http: "http"
    case .tls: "tls"
    case .exchange: "exchange"
    case .redis: "redis"
    case .postgres: "postgres"
    case .mysql: "mysql"
    case .smtp: "smtp"
    case .script: "script"
    case .anyOf: "any_of"
    case .allOf: "all_of"
    }
  }

  /// The same question, whoever asks it.
  var withoutCredentials: Self {
    switch self {
    case .redis(let plan): .redis(RedisCheckPlan(role: plan.role))
    case .postgres(let plan): .postgres(PostgresCheckPlan(role: plan.role))
    case .mysql: .mysql(MySQLCheckPlan())
    case .tcp, .http, .tls, .exchange, .smtp, .script, .anyOf, .allOf: self
    }
  }

  /// Whether it asks for a role, itself or in a part.
  public var asksRole: Bool {
    switch self {
    case .redis(let plan): plan.role != nil
    case .postgres(let plan): plan.role != nil
    case .anyOf(let parts), .allOf(let parts): parts.contains { $0.kind.asksRole }
    case .tcp, .http, .tls, .exchange, .mysql, .smtp, .script: false
    }
  }
}
