// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/icmp_responder.h"

namespace masque {

std::optional<IcmpErrorKind> icmp_error_for(DropReason reason) {
  switch (reason) {
    case DropReason::SourceNotAllowed:
      return IcmpErrorKind::BadSource;
    case DropReason::NoRoute:
    case DropReason::NotOurAddress:
      return IcmpErrorKind::NoRoute;
    case DropReason::ProtocolNotAllowed:
    case DropReason::DestinationDenied:
    case DropReason::ClientToClient:
      return IcmpErrorKind::Prohibited;
    case DropReason::TtlExpired:
      return IcmpErrorKind::TimeExceeded;
    case DropReason::TooBig:
      return IcmpErrorKind::TooBig;
    // Broken packets and sources that nobody can answer; link-local and multicast noise of a host.
    case DropReason::Malformed:
    case DropReason::RoutingHeader0:
    case DropReason::UnknownContext:
    case DropReason::SourceInvalid:
    case DropReason::LinkLocal:
    case DropReason::Multicast:
    case DropReason::QueueFull:
    case DropReason::QueueExpired:
    case DropReason::QueueManaged:
    case DropReason::ChannelClosed:
    case DropReason::NotReady:
      return std::nullopt;
  }
  return std::nullopt;
}

Bytes IcmpResponder::respond(Instant now, const IcmpError& error, const IpAddress& from,
                             const IpPacketView& view, const PacketSlices& offending,
                             TunnelCounters& counters) {
  // Asked first: a packet that may not be answered takes no token.
  if (!may_answer_with_icmp_error(error.kind, view, offending.head)) return {};
  TokenBucket& bucket = error.kind == IcmpErrorKind::TooBig ? too_big_ : errors_;
  if (!bucket.take(now)) {
    ++counters.icmp_errors_limited;
    return {};
  }
  const auto size = build_icmp_error(error, from, view, offending, buffer_);
  if (!size) return {};
  ++counters.icmp_errors_sent;
  return Bytes(buffer_).first(*size);
}

}  // namespace masque
