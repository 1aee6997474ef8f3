// SPDX-License-Identifier: Apache-2.0
// Who may send what through one tunnel: pure decisions over a parsed packet, no I/O.
// RFC 9484 7.2 (source validation, BCP 38), 4.7.3 (routes), 4.8 (protocol scoping), 7.1
// (link-local).
//
//   from the peer   source: assigned to the peer, or behind it (its accepted routes)
//                   destination: ours, or inside what we advertise for that protocol
//   to the peer     source: ours or behind us; destination: the peer's address or inside its
//   accepted routes
//
// A scoped request (4.6) reaches what is advertised for it and nothing else of ours but ICMP; the
// errors of routers on the way to it pass, wherever these are (7.2.1).
//
// A refusal is a forwarding error, never a protocol violation: the tunnel lives on (protocol.md
// K2).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/ip/packet.h"
#include "core/tunnel/address_class.h"
#include "core/tunnel/counters.h"
#include "core/tunnel/range_set.h"
#include "core/tunnel/route_table.h"

namespace masque {

class PacketFilter {
 public:
  // Known: the peer's sources are enforced (Z2). Unknown: an ordinary client, to which the gateway
  // forwards the whole world; only sources that nobody may have are refused.
  enum class PeerSources : uint8_t { Known, Unknown };
  // Ours: packets to the peer come from our addresses or from what we advertise to it. Any: a
  // gateway forwards the answers of the whole world. InScope: unless the request is scoped.
  enum class OurSources : uint8_t { Ours, Any, InScope };
  struct Options {
    PeerSources peer_sources = PeerSources::Known;
    OurSources our_sources = OurSources::Ours;
    std::vector<IpAddress> own_addresses;  // always ours, besides what is assigned
  };

  explicit PacketFilter(Options options);

  void set_assigned_to_us(std::span<const IpPrefix> prefixes);
  void set_assigned_to_peer(std::span<const IpPrefix> prefixes);
  void set_our_routes(std::span<const IpAddressRange> ranges);
  void set_peer_routes(std::span<const IpAddressRange> ranges);

  // nullopt: pass.
  std::optional<DropReason> check_from_peer(const IpPacketView& view) const;
  std::optional<DropReason> check_source_from_peer(const IpPacketView& view) const;
  std::optional<DropReason> check_to_peer(const IpPacketView& view,
                                          const PacketSlices& packet) const;

  bool is_ours(const IpAddress& address) const { return ours_.contains(address); }

 private:
  std::optional<DropReason> check_destination_from_peer(const IpPacketView& view) const;
  std::optional<DropReason> check_source_to_peer(const IpPacketView& view,
                                                 const PacketSlices& packet) const;
  bool is_open(const IpAddress& ours, uint8_t protocol) const;
  bool is_error_about_peer(const IpPacketView& view, const PacketSlices& packet) const;
  void rebuild_ours();

  Options options_;
  std::vector<IpPrefix> assigned_to_us_;
  RangeSet ours_;   // assigned to us and own addresses
  RangeSet peers_;  // assigned to the peer
  RouteTable our_routes_;
  RouteTable peer_routes_;
};

}  // namespace masque
