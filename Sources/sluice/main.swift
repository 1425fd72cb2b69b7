// SPDX-License-Identifier: Apache-2.0
// The executable: everything that can be tested is in `Command`.

import Command

SluiceCommand.main()
