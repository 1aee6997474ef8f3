// SPDX-License-Identifier: Apache-2.0
// The program's exit codes, for scripts (docs/operating.md). The numbers from 64 on are those of
// sysexits.h.
#pragma once

namespace masque {

enum ExitCode : int {
  kExitDone = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitNotConnected = 3,  // `status`: nothing runs, or it is not connected
  kExitUnreachable = 69,  // the peer does not answer
  kExitLater = 75,        // a passing shortage: try again later
  kExitRefused = 77,      // not allowed: by the peer, by a policy or by the kernel
  kExitConfiguration = 78,
};

}  // namespace masque
