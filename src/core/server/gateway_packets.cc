// SPDX-License-Identifier: Apache-2.0
// The gateway's packet path: nothing here allocates, locks or logs.
#include "base/mutant.h"
#include "core/server/gateway_impl.h"
#include "core/tunnel/address_class.h"

namespace masque {
namespace {

// ICMP errors about a packet from another session of ours: into that session's queue.
class ToSession final : public PacketSink {
 public:
  ToSession(Instant now, ConnectIpSession& session) : called_at_(now), session_(session) {}
  void deliver(Bytes ip_packet) override {
    session_.enqueue(called_at_, {.head = ip_packet, .body = {}});
  }

 private:
  Instant called_at_;
  ConnectIpSession& session_;
};

}  // namespace

// Errors about packets that waited: to another session of ours, or to the kernel.
class Gateway::Impl::WayBackToSender final : public WayBack {
 public:
  WayBackToSender(Impl& gateway, const Session& destination)
      : gateway_(gateway), destination_(destination) {}
  Way to(const IpAddress& source) override {
    const auto slot = gateway_.router.find(source);
    if (!slot || *slot == destination_.slot) return {Forwarding::KernelDecrements, *gateway_.tun};
    Session& sender = *gateway_.slots[*slot];
    gateway_.touch(sender);
    return {Forwarding::WeDecrement, session_.emplace(gateway_.called_at, sender.tunnel)};
  }

 private:
  Impl& gateway_;
  const Session& destination_;
  std::optional<ToSession> session_;
};

void Gateway::Impl::flush_queue(Session& session) {
  WayBackToSender back(*this, session);
  session.tunnel.flush(called_at, session.channel, back);
}

void Gateway::on_http_datagram(HttpConnection& connection, StreamId stream, Bytes payload) {
  Impl& gateway = *impl_;
  Impl::Session* session = gateway.find(connection, stream);
  if (session == nullptr) return;
  const Impl::Reading reading(gateway, connection);
  Impl::FromSession handler(gateway, *session);
  session->tunnel.on_http_datagram(gateway.called_at, payload, handler,
                                   connection.datagram_origin());
  gateway.touch(*session);
}

// A packet from a client that passed the checks of its own session.
void Gateway::Impl::on_inner_packet(Session& from, Bytes packet, const IpPacketView& view) {
  Session* destination = nullptr;
  if (const auto drop = check_policy(from, view, destination)) {
    from.tunnel.refuse(called_at, *drop, view, packet);
    return;
  }
  if (destination == nullptr) {
    tun->deliver(packet);
    return;
  }
  // Client to client: we are the router between, no kernel is.
  ToSession back(called_at, from.tunnel);
  destination->tunnel.on_ip_packet(called_at, {.head = packet, .body = {}}, view,
                                   Forwarding::WeDecrement, destination->channel, back);
  touch(*destination);
}

// Packets for an address of the gateway's host, inside the tunnel or outside it.
bool Gateway::Impl::may_reach_gateway(const Session& from, const IpPacketView& view) const {
  const GatewayReach reach = from.rules.reach_gateway;
  const IpAddress& target = mutant("gateway.wrong_field") ? view.source : view.destination;
  if (own.contains(target)) {
    if (reach == GatewayReach::Ping && !mutant("gateway.ping.remove"))
      return view.protocol == ip_protocol::icmp_of(view.version);
    return reach != GatewayReach::None || mutant("gateway.reach.remove");
  }
  if (reach == GatewayReach::All || mutant("gateway.all.remove")) return true;
  if (host_addresses.contains(target) && !mutant("gateway.host.remove")) return false;
  return from.outer != target || mutant("gateway.outer.remove");
}

// Where a client's packet may go. `destination` stays null for the kernel.
std::optional<DropReason> Gateway::Impl::check_policy(const Session& from, const IpPacketView& view,
                                                      Session*& destination) {
  if (!may_reach_gateway(from, view)) return DropReason::DestinationDenied;
  if (own.contains(view.destination)) return std::nullopt;
  if (from.rules.allowed && !from.rules.allowed->contains(view.destination) &&
      !mutant("allowed.remove")) {
    return DropReason::DestinationDenied;
  }
  if (const auto slot = router.find(view.destination)) {
    Session& other = *slots[*slot];
    if (&other == &from || !may_talk(from, other)) {
      if (!mutant("clients.remove")) return DropReason::ClientToClient;
    }
    destination = &other;
    return std::nullopt;
  }
  // Nobody has it now; the kernel would send it back into the TUN.
  if (pool.contains(view.destination) && !mutant("pool.no_route.remove"))
    return DropReason::NoRoute;
  return std::nullopt;
}

void Gateway::Impl::on_tun_packet(const PacketSlices& packet) {
  const auto view = parse_ip_packet(packet);
  if (!view) {
    totals.packets.drop(view.error() == PacketFault::RoutingHeaderType0 ? DropReason::RoutingHeader0
                                                                        : DropReason::Malformed);
    return;
  }
  const auto slot = router.find(view->destination);
  if (!slot) {
    const bool unicast = classify(view->destination) == AddressClass::Unicast;
    return drop_from_tun(unicast ? DropReason::NoRoute : DropReason::Multicast, packet, *view);
  }
  Session& session = *slots[*slot];
  // A client's packet that the kernel turned round (DNAT, hairpin) is still client to client.
  if (const auto source = router.find(view->source)) {
    const Session& sender = *slots[*source];
    if (!mutant("clients.hairpin.remove") && (&sender == &session || !may_talk(sender, session))) {
      return drop_from_tun(DropReason::ClientToClient, packet, *view);
    }
  }
  session.tunnel.on_ip_packet(called_at, packet, *view, Forwarding::KernelDecrements,
                              session.channel, *tun);
  touch(session);
}

void Gateway::Impl::drop_from_tun(DropReason reason, const PacketSlices& packet,
                                  const IpPacketView& view) {
  totals.packets.drop(reason);
  const auto kind = icmp_error_for(reason);
  if (!kind || classify(view.destination) != AddressClass::Unicast) return;
  const Bytes error = icmp_to_tun.respond(called_at, {.kind = *kind}, view.destination, view,
                                          packet, totals.packets);
  if (!error.empty()) tun->deliver(error);
}

}  // namespace masque
