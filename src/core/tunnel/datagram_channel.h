// SPDX-License-Identifier: Apache-2.0
// How a CONNECT-IP session sends HTTP Datagrams (RFC 9297 2) without knowing of HTTP or QUIC.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/time.h"
#include "core/ip/packet_slices.h"
#include "core/path/sending_pace.h"
#include "core/path/traffic_class.h"

namespace masque {

enum class SendResult : uint8_t {
  Sent,
  Blocked,   // congestion, pacing, or the transmit batch is full: keep it and try again later
  TooLarge,  // does not fit into one DATAGRAM frame now: answer with Packet Too Big (RFC 9484 7.2)
  Closed,    // the request stream is gone or datagrams were not negotiated
};

class DatagramChannel {
 public:
  virtual ~DatagramChannel() = default;
  // Sends `packet` as the payload of an HTTP Datagram with Context ID 0 (RFC 9484 5).
  virtual SendResult send_packet(Instant now, const PacketSlices& packet,
                                 TrafficClass traffic_class) = 0;
  // Largest IP packet that fits now: it moves with the path MTU of the live tunnel.
  virtual size_t packet_size_max() const = 0;
  virtual SendingPace pace() const = 0;
};

}  // namespace masque
