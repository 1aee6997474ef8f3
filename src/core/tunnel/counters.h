// SPDX-License-Identifier: Apache-2.0
// What a session did with inner packets: each drop has exactly one reason, each reason a stable
// name
// (`masque-vpn status`, metrics). "Sent" is towards the peer, "received" is from the peer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace masque {

enum class DropReason : uint8_t {
  Malformed,           // not one whole, sane IPv4 or IPv6 packet
  RoutingHeader0,      // RFC 5095
  UnknownContext,      // HTTP Datagram of a Context ID nobody registered, RFC 9484 6
  SourceNotAllowed,    // RFC 9484 7.2: source validation, BCP 38
  SourceInvalid,       // unspecified, multicast, loopback or broadcast source
  NoRoute,             // destination outside the advertised routes
  ProtocolNotAllowed,  // destination advertised, but not for this IP protocol
  NotOurAddress,       // from the peer, to neither our addresses nor our routes
  LinkLocal,           // never forwarded, RFC 9484 7.1
  Multicast,           // multicast and broadcast destinations
  DestinationDenied,   // loopback, unspecified and whatever the policy forbids
  ClientToClient,      // policy forbids traffic between clients
  TtlExpired,
  TooBig,         // answered with Packet Too Big, RFC 9484 7.2
  QueueFull,      // no room: the oldest of the longest flow in the queue
  QueueExpired,   // waited longer than it could be of use
  QueueManaged,   // CoDel, RFC 8289: a standing queue tells its flow to slow down
  ChannelClosed,  // the request stream is gone
  NotReady,       // before addresses or routes are known
};
constexpr size_t kDropReasons = static_cast<size_t>(DropReason::NotReady) + 1;
std::string_view to_string(DropReason reason);

struct TunnelCounters {
  uint64_t packets_sent = 0;
  uint64_t bytes_sent = 0;
  uint64_t packets_received = 0;
  uint64_t bytes_received = 0;
  uint64_t packets_queued = 0;      // sent later, because the channel was blocked
  uint64_t packets_fragmented = 0;  // IPv4 above the limit; its fragments count as sent
  uint64_t packets_marked = 0;      // CE instead of a drop, RFC 3168
  uint64_t icmp_errors_sent = 0;
  uint64_t icmp_errors_limited = 0;  // kept back by the rate limit, RFC 4443 2.4 (f)
  uint64_t echo_replies_sent = 0;
  uint64_t datagram_capsules = 0;       // packets that came in DATAGRAM capsules
  uint64_t ipv6_probes_unanswered = 0;  // RFC 9484 7.2: whether 1280 bytes pass was not found out
  std::array<uint64_t, kDropReasons> drops{};

  void drop(DropReason reason) { ++drops[static_cast<size_t>(reason)]; }
  uint64_t dropped(DropReason reason) const { return drops[static_cast<size_t>(reason)]; }
  void add(const TunnelCounters& other);
};

}  // namespace masque
