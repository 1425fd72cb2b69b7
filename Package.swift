// swift-tools-version: 6.2
// Targets are the layers: what a target does not depend on, it cannot use. ARCHITECTURE.md says
// what each one is for. Versions are exact, because no Package.resolved is kept.

import PackageDescription

let argumentParser = Target.Dependency.product(
  name: "ArgumentParser", package: "swift-argument-parser")
let httpTypes = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")

let package = Package(
  name: "sluice",
  products: [
    .executable(name: "sluice", targets: ["sluice"]),
    .library(name: "EventLoop", targets: ["EventLoop", "Addressing"]),
    .library(name: "Reactor", targets: ["Reactor"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
    // Without its trait that brings URLs, and with them Foundation.
    .package(url: "https://github.com/apple/swift-http-types", exact: "1.8.0", traits: []),
    .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
    .package(url: "https://github.com/apple/swift-system", exact: "1.8.1"),
  ],
  targets: [
    .target(name: "CLinux"),
    .systemLibrary(name: "CAres", providers: [.apt(["libc-ares-dev"])]),
    .systemLibrary(name: "CYAML", providers: [.apt(["libyaml-dev"])]),
    .target(name: "Addressing"),
    .target(name: "Reactor", dependencies: ["CLinux", "Addressing", system]),
    .target(
      name: "EventLoop", dependencies: ["CLinux", "Reactor", "Addressing"],
      // Asynchronous functions stay on their caller's executor: looking up the task's own at each call
      // and return would cost more than the functions do.
      swiftSettings: [.enableUpcomingFeature("NonisolatedNonsendingByDefault")]),
    .target(
      name: "DNS", dependencies: ["CAres", "EventLoop", "Reactor", "Addressing"],
      swiftSettings: [.enableUpcomingFeature("NonisolatedNonsendingByDefault")],
      linkerSettings: [.linkedLibrary(":libcares.a")]),
    .target(name: "Balancing"),
    .target(name: "HTTP1", dependencies: [httpTypes]),
    .target(name: "Matching"),
    .target(name: "Plan", dependencies: ["Addressing", "Matching"]),
    .target(
      name: "Configuration", dependencies: ["CYAML", "Plan", "Addressing", "Matching"],
      linkerSettings: [.linkedLibrary(":libyaml.a")]),
    .target(
      name: "DataPlane", dependencies: ["Reactor", "Balancing", "Plan", "Addressing"],
      swiftSettings: [
        // A worker is used by one thread. That it never reads what it is just changing is checked with
        // every access where tests run; where bytes are moved, that would be a sixth of its own time.
        .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))
      ]),
    .target(
      name: "Control",
      dependencies: [
        "CLinux", "DNS", "DataPlane", "EventLoop", "HTTP1", "Balancing", "Matching", "Reactor",
        "Plan",
        "Addressing", httpTypes, logging,
      ]),
    .target(
      name: "Admin",
      dependencies: [
        "Control", "DataPlane", "EventLoop", "Reactor", "Plan", "Addressing", "HTTP1", httpTypes,
      ]),
    .target(
      name: "Command",
      dependencies: [
        "Admin", "Configuration", "Control", "EventLoop", "Plan", "Reactor",
        "Addressing", argumentParser,
        logging,
      ]),
    .executableTarget(name: "sluice", dependencies: ["Command"]),
    // What a pick costs, for `make bench`.
    .executableTarget(
      name: "bench-picks",
      dependencies: ["DataPlane", "Balancing", "Reactor", "Plan", "Addressing"],
      path: "Benchmarks/Picks"),

    .executableTarget(
      name: "example-hello", dependencies: ["EventLoop"], path: "Examples/Hello"),
    .executableTarget(
      name: "example-echo-client", dependencies: ["EventLoop", "Addressing"],
      path: "Examples/EchoClient"),
    .executableTarget(
      name: "example-echo-server", dependencies: ["EventLoop", "Addressing"],
      path: "Examples/EchoServer"),
    .executableTarget(
      name: "example-gather", dependencies: ["EventLoop"], path: "Examples/Gather"),
    .executableTarget(
      name: "example-http-get", dependencies: ["EventLoop"], path: "Examples/HTTPGet"),
    .executableTarget(
      name: "example-many-tasks", dependencies: ["EventLoop"], path: "Examples/ManyTasks"),
    .executableTarget(
      name: "example-offload", dependencies: ["EventLoop"], path: "Examples/Offload"),
    .executableTarget(
      name: "example-slow-callback", dependencies: ["EventLoop"], path: "Examples/SlowCallback"),

    .testTarget(name: "AddressingTests", dependencies: ["Addressing"]),
    .testTarget(
      name: "ConfigurationTests", dependencies: ["Configuration", "Plan", "Addressing", "Matching"]),
    .testTarget(name: "MatchingTests", dependencies: ["Matching", "Balancing"]),
    .testTarget(
      name: "ControlTests",
      dependencies: [
        "Control", "DNS", "DataPlane", "EventLoop", "HTTP1", "Balancing", "Matching", "Reactor",
        "Plan",
        "Addressing", "CLinux", logging,
      ]),
    .testTarget(name: "PlanTests", dependencies: ["Plan"]),
    .testTarget(name: "CommandTests", dependencies: ["Command", "Addressing", argumentParser]),
    // Starts the built programs, so they must be built.
    .testTarget(
      name: "ScenarioTests",
      dependencies: [
        "sluice", "DNSServing", "Reactor", "Addressing", "CLinux", "example-hello",
        "example-gather",
        "example-many-tasks", "example-offload", "example-slow-callback", "example-echo-client",
        "example-echo-server", "example-http-get",
      ]),
    .testTarget(
      name: "EventLoopTests", dependencies: ["EventLoop", "Reactor", "Addressing", "CLinux"]),
    // A name server of the tests' own.
    .target(
      name: "DNSServing", dependencies: ["CLinux", "Reactor", "Addressing"],
      path: "Tests/DNSServing"),
    .testTarget(
      name: "DNSTests",
      dependencies: ["DNS", "DNSServing", "EventLoop", "Reactor", "Balancing", "Addressing"]),
    .testTarget(name: "BalancingTests", dependencies: ["Balancing"]),
    .testTarget(name: "HTTP1Tests", dependencies: ["HTTP1", "Balancing", httpTypes]),
    .testTarget(
      name: "AdminTests",
      dependencies: ["Admin", "EventLoop", "Reactor", "Plan", "Addressing", "HTTP1", httpTypes]),
    .testTarget(
      name: "ReactorTests", dependencies: ["Reactor", "Balancing", "Addressing", "CLinux", system]),
    .testTarget(
      name: "DataPlaneTests",
      dependencies: [
        "DataPlane", "Control", "Reactor", "Balancing", "Plan", "Addressing", "CLinux", system,
      ]),
  ],
  swiftLanguageModes: [.v6]
)
