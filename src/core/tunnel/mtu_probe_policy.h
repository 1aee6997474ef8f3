// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace masque {

// RFC 9484 7.2: the tunnel must carry 1280-byte IPv6 packets end to end. QUIC's own path MTU search
// proves its leg; the ping proves what lies behind an HTTP intermediary (docs/adr/0013).
enum class MtuProbePolicy : uint8_t {
  Off,      // an out-of-band guarantee holds: the TLS peer is the tunnel's end
  Measure,  // ping, and abort the tunnel when small pings are answered and those of 1280 bytes are
            // not; of a peer that answers none (connect-ip-go) it is told that nothing is proven
  Require,  // abort it then, too
};

}  // namespace masque
