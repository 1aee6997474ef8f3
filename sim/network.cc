// SPDX-License-Identifier: Apache-2.0
#include "sim/network.h"

#include <algorithm>
#include <format>

#include "base/assert.h"

namespace masque {

namespace {

constexpr uint64_t kAmplificationMax = 3;  // RFC 9000 8.1

size_t ip_size(const Network::Packet& packet) {
  constexpr size_t kUdpHeader = 8;
  return packet.bytes.size() + kUdpHeader +
         (packet.to.address.version() == IpVersion::V4 ? 20 : 40);
}

uint64_t digest(const SocketAddress& address) {
  uint64_t out = address.port;
  for (const uint8_t byte : address.address.bytes()) out = out * 31 + byte;
  return out;
}

}  // namespace

Network::HostId Network::attach(UdpHost& host, const IpAddress& address, Kind kind) {
  // A server sits at the core: its own link is fast and clean until somebody changes it.
  const LinkOptions options{.delay = kind == Kind::Server ? Duration::zero() : 10ms};
  hosts_.push_back(std::make_unique<Attached>(Attached{.host = &host,
                                                       .address = address,
                                                       .kind = kind,
                                                       .up = Link(options, world_.rng()),
                                                       .down = Link(options, world_.rng())}));
  return static_cast<HostId>(hosts_.size() - 1);
}

void Network::set_links(HostId host, const LinkOptions& up, const LinkOptions& down) {
  hosts_[host]->up.set_options(up);
  hosts_[host]->down.set_options(down);
}

void Network::add_nat(HostId host, const IpAddress& public_address) {
  hosts_[host]->nat = Nat{.address = public_address};
}

void Network::rebind_port(HostId host) {
  Nat& nat = *hosts_[host]->nat;
  nat.out.clear();
  nat.back.clear();
}

void Network::rebind_address(HostId host, const IpAddress& public_address) {
  rebind_port(host);
  hosts_[host]->nat->address = public_address;
}

std::optional<Network::HostId> Network::host_of(const IpAddress& address) const {
  for (HostId id = 0; id < hosts_.size(); ++id) {
    const Attached& host = *hosts_[id];
    if ((host.nat ? host.nat->address : host.address) == address) return id;
  }
  return std::nullopt;
}

void Network::count_sent(const Packet& packet) {
  Account& account = accounts_[packet.to];
  account.sent += packet.bytes.size();
  if (account.may_be_validated || account.sent <= kAmplificationMax * account.received) return;
  // RFC 9000 8.1.3: who was validated once may have come back with a token, from any port.
  const auto was_validated = [&](const auto& other) {
    return other.second.may_be_validated && other.first.address == packet.to.address;
  };
  if (std::ranges::any_of(accounts_, was_validated)) return;
  world_.violation(std::format("I-7: {} bytes to {}, which sent {} and cannot be validated yet",
                               account.sent, packet.to.to_string(), account.received));
}

void Network::send(HostId from, const NetworkPath& path, Ecn ecn, Bytes bytes) {
  Attached& host = *hosts_[from];
  Packet packet{.from = path.local,
                .to = path.remote,
                .ecn = ecn,
                .bytes = std::vector<uint8_t>(bytes.begin(), bytes.end()),
                .sent_at = world_.now()};
  ++sent_;
  world_.trace(TraceKind::Sent, from, bytes.size(), digest(path.remote), bytes);
  if (host.kind == Kind::Server) count_sent(packet);
  for (const Link::Delivery& delivery : host.up.on_packet(world_.now(), ip_size(packet))) {
    world_.at(delivery.at, [this, from, copy = packet, content = delivery.content]() mutable {
      if (content == Link::Delivery::Content::Corrupted) corrupt(copy.bytes);
      if (auto& nat = hosts_[from]->nat) {
        auto [place, fresh] = nat->out.try_emplace(copy.from);
        if (fresh) {
          place->second = {.address = nat->address, .port = next_public_port_++};
          nat->back[place->second] = copy.from;
        }
        copy.from = place->second;
      }
      cross(copy);
    });
  }
}

void Network::inject(Packet packet) {
  packet.sent_at = world_.now();
  cross(packet);
}

void Network::cross(const Packet& packet) {
  const auto to = host_of(packet.to.address);
  if (!to) return;  // nobody lives there
  if (filter_ && filter_(packet)) return;
  for (const Link::Delivery& delivery :
       hosts_[*to]->down.on_packet(world_.now(), ip_size(packet))) {
    world_.at(delivery.at, [this, to, copy = packet, content = delivery.content]() mutable {
      deliver(*to, std::move(copy), content);
    });
  }
}

void Network::corrupt(std::vector<uint8_t>& bytes) {
  const uint64_t flips = 1 + world_.below(3);
  for (uint64_t i = 0; i < flips && !bytes.empty(); ++i) {
    bytes[world_.below(bytes.size())] ^= static_cast<uint8_t>(1 + world_.below(255));
  }
}

void Network::deliver(HostId id, Packet packet, Link::Delivery::Content content) {
  Attached& host = *hosts_[id];
  if (host.host == nullptr) return;
  if (content == Link::Delivery::Content::Corrupted) corrupt(packet.bytes);
  if (host.kind == Kind::Server) {
    Account& account = accounts_[packet.from];
    account.received += packet.bytes.size();
    if (account.reached_at && packet.sent_at >= *account.reached_at)
      account.may_be_validated = true;
  } else if (const auto found = accounts_.find(packet.to); found != accounts_.end()) {
    if (!found->second.reached_at) found->second.reached_at = world_.now();
  }
  if (host.nat) {
    const auto found = host.nat->back.find(packet.to);
    if (found == host.nat->back.end()) return;  // a mapping that the NAT has forgotten
    packet.to = found->second;
  }
  ++delivered_;
  world_.trace(TraceKind::Delivered, id, packet.bytes.size(), digest(packet.from), packet.bytes);
  host.host->on_udp({.local = packet.to, .remote = packet.from}, packet.ecn, packet.bytes);
}

const Network::Account* Network::account(const SocketAddress& remote) const {
  const auto found = accounts_.find(remote);
  return found == accounts_.end() ? nullptr : &found->second;
}

void NetworkTransmit::flush() {
  for (const TransmitRun& run : batch_.runs()) {
    const Bytes all = batch_.bytes(run);
    for (size_t at = 0; at < all.size(); at += run.segment_size) {
      network_.send(host_, run.path, run.ecn,
                    all.subspan(at, std::min<size_t>(run.segment_size, all.size() - at)));
    }
  }
  batch_.clear();
}

}  // namespace masque
