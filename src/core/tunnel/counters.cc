// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/counters.h"

#include <utility>

namespace masque {

std::string_view to_string(DropReason reason) {
  switch (reason) {
    case DropReason::Malformed:
      return "malformed";
    case DropReason::RoutingHeader0:
      return "routing_header_0";
    case DropReason::UnknownContext:
      return "unknown_context";
    case DropReason::SourceNotAllowed:
      return "source_not_allowed";
    case DropReason::SourceInvalid:
      return "source_invalid";
    case DropReason::NoRoute:
      return "no_route";
    case DropReason::ProtocolNotAllowed:
      return "protocol_not_allowed";
    case DropReason::NotOurAddress:
      return "not_our_address";
    case DropReason::LinkLocal:
      return "link_local";
    case DropReason::Multicast:
      return "multicast";
    case DropReason::DestinationDenied:
      return "destination_denied";
    case DropReason::ClientToClient:
      return "client_to_client";
    case DropReason::TtlExpired:
      return "ttl_expired";
    case DropReason::TooBig:
      return "too_big";
    case DropReason::QueueFull:
      return "queue_full";
    case DropReason::QueueExpired:
      return "queue_expired";
    case DropReason::QueueManaged:
      return "queue_managed";
    case DropReason::ChannelClosed:
      return "channel_closed";
    case DropReason::NotReady:
      return "not_ready";
  }
  std::unreachable();
}

void TunnelCounters::add(const TunnelCounters& other) {
  packets_sent += other.packets_sent;
  bytes_sent += other.bytes_sent;
  packets_received += other.packets_received;
  bytes_received += other.bytes_received;
  packets_queued += other.packets_queued;
  packets_fragmented += other.packets_fragmented;
  packets_marked += other.packets_marked;
  icmp_errors_sent += other.icmp_errors_sent;
  icmp_errors_limited += other.icmp_errors_limited;
  echo_replies_sent += other.echo_replies_sent;
  datagram_capsules += other.datagram_capsules;
  ipv6_probes_unanswered += other.ipv6_probes_unanswered;
  for (size_t i = 0; i < kDropReasons; ++i) drops[i] += other.drops[i];
}

}  // namespace masque
