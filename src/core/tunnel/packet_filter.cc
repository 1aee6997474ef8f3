// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/packet_filter.h"

#include "base/mutant.h"
#include "core/ip/icmp.h"

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

// Whether one of our addresses takes part whatever is advertised. RFC 9484 4.6: in a scoped request
// only with ICMP, so that the tunnel can be measured and errors have a source.
bool PacketFilter::is_open(const IpAddress& ours, uint8_t protocol) const {
  if (!ours_.contains(ours)) return false;
  if (options_.our_sources != OurSources::InScope || mutant("scope.own.remove")) return true;
  return protocol == ip_protocol::icmp_of(ours.version());
}

std::optional<DropReason> PacketFilter::check_destination_from_peer(
    const IpPacketView& view) const {
  if (const auto drop = check_special_destination(classify(view.destination))) return drop;
  if (mutant("destination.remove")) return std::nullopt;
  if (is_open(view.destination, view.protocol)) return std::nullopt;
  return to_drop(our_routes_.find(view.destination, view.protocol), DropReason::NotOurAddress);
}

std::optional<DropReason> PacketFilter::check_from_peer(const IpPacketView& view) const {
  if (const auto drop = check_source_from_peer(view)) return drop;
  return check_destination_from_peer(view);
}

// RFC 9484 7.2.1: routers on the way to the scope are not in it, and their errors are wanted: about
// packets that the peer itself may send.
bool PacketFilter::is_error_about_peer(const IpPacketView& view, const PacketSlices& packet) const {
  if (options_.our_sources != OurSources::InScope || !packet.body.empty()) return false;
  const auto quoted = parse_icmp_error_quote(view, packet.head);
  if (!quoted) return false;
  if (quoted->source != view.destination && !mutant("error.sender.remove")) return false;
  return our_routes_.find(quoted->destination, quoted->protocol) == RouteMatch::Routed ||
         mutant("error.scope.remove");
}

std::optional<DropReason> PacketFilter::check_source_to_peer(const IpPacketView& view,
                                                             const PacketSlices& packet) const {
  if (const auto drop = check_special_source(classify(view.source))) return drop;
  if (mutant("source.outgoing.remove")) return std::nullopt;
  if (options_.our_sources == OurSources::Any) return std::nullopt;
  if (is_open(view.source, view.protocol)) return std::nullopt;
  const RouteMatch match = our_routes_.find(view.source, view.protocol);
  if (match != RouteMatch::Routed && is_error_about_peer(view, packet)) return std::nullopt;
  return to_drop(match, DropReason::SourceNotAllowed);
}

std::optional<DropReason> PacketFilter::check_to_peer(const IpPacketView& view,
                                                      const PacketSlices& packet) const {
  if (const auto drop = check_source_to_peer(view, packet)) return drop;
  // All nodes of the link are us and the peer: the one link-local destination that crosses the
  // tunnel.
  if (is_all_nodes(view.destination) && view.protocol == ip_protocol::kIcmpV6) return std::nullopt;
  if (const auto drop = check_special_destination(classify(view.destination))) return drop;
  if (peers_.contains(view.destination)) return std::nullopt;
  return to_drop(peer_routes_.find(view.destination, view.protocol), DropReason::NoRoute);
}

}  // namespace masque
