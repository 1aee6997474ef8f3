// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/packet_filter.h"

#include "base/mutant.h"

namespace masque {
namespace {

std::optional<DropReason> check_special_source(AddressClass c) {
  if (c == AddressClass::Unicast || mutant("source.special.remove")) return std::nullopt;
  return c == AddressClass::LinkLocal ? DropReason::LinkLocal : DropReason::SourceInvalid;
}

std::optional<DropReason> check_special_destination(AddressClass c) {
  switch (c) {
    case AddressClass::Unicast:
      return std::nullopt;
    // RFC 9484 7.1: never forwarded beyond the tunnel interface.
    case AddressClass::LinkLocal:
    case AddressClass::LinkLocalMulticast:
      return DropReason::LinkLocal;
    case AddressClass::Multicast:
    case AddressClass::Broadcast:
      return DropReason::Multicast;
    case AddressClass::Unspecified:
    case AddressClass::Loopback:
      if (mutant("destination.loopback.remove")) return std::nullopt;
      return DropReason::DestinationDenied;
  }
  return DropReason::DestinationDenied;
}

std::optional<DropReason> to_drop(RouteMatch match, DropReason when_none) {
  switch (match) {
    case RouteMatch::Routed:
      return std::nullopt;
    case RouteMatch::OtherProtocol:
      if (mutant("scope.protocol.remove")) return std::nullopt;
      return DropReason::ProtocolNotAllowed;
    case RouteMatch::None:
      if (mutant("destination.routes.remove")) return std::nullopt;
      return when_none;
  }
  return when_none;
}

}  // namespace

PacketFilter::PacketFilter(Options options) : options_(std::move(options)) { rebuild_ours(); }

void PacketFilter::rebuild_ours() {
  std::vector<IpPrefix> all = assigned_to_us_;
  for (const IpAddress& address : options_.own_addresses) all.push_back(IpPrefix::host(address));
  ours_ = RangeSet(all);
}

void PacketFilter::set_assigned_to_us(std::span<const IpPrefix> prefixes) {
  assigned_to_us_.assign(prefixes.begin(), prefixes.end());
  rebuild_ours();
}
void PacketFilter::set_assigned_to_peer(std::span<const IpPrefix> prefixes) {
  peers_ = RangeSet(prefixes);
}
void PacketFilter::set_our_routes(std::span<const IpAddressRange> ranges) {
  our_routes_ = RouteTable(ranges);
}
void PacketFilter::set_peer_routes(std::span<const IpAddressRange> ranges) {
  peer_routes_ = RouteTable(ranges);
}

std::optional<DropReason> PacketFilter::check_source_from_peer(const IpPacketView& view) const {
  if (const auto drop = check_special_source(classify(view.source))) return drop;
  if (options_.peer_sources == PeerSources::Unknown) {
    // Nobody but us has our addresses.
    if (mutant("source.ours.remove")) return std::nullopt;
    if (ours_.contains(view.source)) return DropReason::SourceNotAllowed;
    return std::nullopt;
  }
  // RFC 9484 7.2: source validation with what was assigned to the peer or lies behind it.
  if (mutant("source.peer.remove")) return std::nullopt;
  if (mutant("source.peer.wrong_field") && peers_.contains(view.destination)) return std::nullopt;
  if (mutant("source.peer.family") && peers_.has(view.version)) return std::nullopt;
  if (peers_.contains(view.source)) return std::nullopt;
  if (peer_routes_.find(view.source, view.protocol) == RouteMatch::Routed) return std::nullopt;
  return DropReason::SourceNotAllowed;
}

std::optional<DropReason> PacketFilter::check_destination_from_peer(
    const IpPacketView& view) const {
  if (const auto drop = check_special_destination(classify(view.destination))) return drop;
  if (mutant("destination.remove")) return std::nullopt;
  if (ours_.contains(view.destination)) return std::nullopt;
  return to_drop(our_routes_.find(view.destination, view.protocol), DropReason::NotOurAddress);
}

std::optional<DropReason> PacketFilter::check_from_peer(const IpPacketView& view) const {
  if (const auto drop = check_source_from_peer(view)) return drop;
  return check_destination_from_peer(view);
}

std::optional<DropReason> PacketFilter::check_source_to_peer(const IpPacketView& view) const {
  if (const auto drop = check_special_source(classify(view.source))) return drop;
  if (mutant("source.outgoing.remove")) return std::nullopt;
  if (options_.our_sources == OurSources::Any || ours_.contains(view.source)) return std::nullopt;
  return to_drop(our_routes_.find(view.source, view.protocol), DropReason::SourceNotAllowed);
}

std::optional<DropReason> PacketFilter::check_to_peer(const IpPacketView& view) const {
  if (const auto drop = check_source_to_peer(view)) return drop;
  // All nodes of the link are us and the peer: the one link-local destination that crosses the
  // tunnel.
  if (is_all_nodes(view.destination) && view.protocol == ip_protocol::kIcmpV6) return std::nullopt;
  if (const auto drop = check_special_destination(classify(view.destination))) return drop;
  if (peers_.contains(view.destination)) return std::nullopt;
  return to_drop(peer_routes_.find(view.destination, view.protocol), DropReason::NoRoute);
}

}  // namespace masque
