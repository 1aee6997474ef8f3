// SPDX-License-Identifier: Apache-2.0
#include "host/unique_fd.h"

#include <unistd.h>

namespace masque {

// EINTR of close() is not retried: Linux has freed the number already.
void UniqueFd::reset() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

}  // namespace masque
