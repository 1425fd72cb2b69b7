// swift-tools-version: 6.2
// The load generator and the reference servers of `make bench`: a package of its own, so that
// nothing of it can reach the shipped binary.

import PackageDescription

let package = Package(
  name: "benchmarks",
  targets: [
    .target(name: "CLoad"),
    .executableTarget(name: "load", dependencies: ["CLoad"]),
  ],
  swiftLanguageModes: [.v6]
)
