// SPDX-License-Identifier: Apache-2.0
// For tests: a gateway's session whose client has 10.8.0.2 and fd00:8::2, and to which the world is
// advertised, with a channel and a TUN that keep what they are given.
#pragma once

#include "core/tunnel/connect_ip_session.h"
#include "core/tunnel/test_packets.h"

namespace masque::test {

struct Proxy {
  explicit Proxy(SessionOptions options = {}, size_t limit = FakeChannel{}.limit)
      : session(at(0s), completed(std::move(options))) {
    session.assign_addresses(nets({"10.8.0.2/32", "fd00:8::2/128"}));
    session.advertise_routes({route("0.0.0.0/0"), route("::/0")});
    channel.limit = limit;
    session.update_mtu(at(0s), channel);
  }
  SendVerdict send(const Packet& packet, Forwarding forwarding = Forwarding::KernelDecrements,
                   Instant now = at(0s)) {
    return session.on_ip_packet(now, {.head = packet, .body = {}}, view_of(packet), forwarding,
                                channel, tun);
  }
  uint64_t drops(DropReason reason) const { return session.counters().dropped(reason); }

  FakeChannel channel;
  CollectingSink tun;
  WayBackToTun back{tun};
  CollectingHandler handler;
  ConnectIpSession session;

 private:
  static SessionOptions completed(SessionOptions options) {
    options.role = SessionOptions::Role::Proxy;
    options.own_addresses = {ip("10.8.0.1"), ip("fd00:8::1")};
    options.our_sources = PacketFilter::OurSources::Any;
    options.ipv6_probe = MtuProbePolicy::Off;
    return options;
  }
};

}  // namespace masque::test
