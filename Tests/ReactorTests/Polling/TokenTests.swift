// SPDX-License-Identifier: Apache-2.0
// Tokens come back as they went.

import Reactor
import Testing

@Suite struct TokenTests {
  @Test(arguments: [Token.Kind.downstream, .upstream, .listener, .bell, .descriptor])
  func aTokenSurvivesTheKernel(_ kind: Token.Kind) {
    for index in [0, 1, 4711, Token.indexMax] {
      for generation in [0, 1, 0xDEAD_BEEF, .max] as [UInt32] {
        let token = Token(
          rawValue: Token(kind, index: index, generation: generation).rawValue)
        #expect(token.kind == kind)
        #expect(token.index == index)
        #expect(token.generation == generation)
      }
    }
  }
}
