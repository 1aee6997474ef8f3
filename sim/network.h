// SPDX-License-Identifier: Apache-2.0
// The outer network in memory: hosts with UDP addresses, each behind an access link of its own (up
// and down) and perhaps behind a NAT. What leaves one host's up link enters the other's down link.
//
//   host --up--> [NAT] --> internet --> [NAT] --down--> host
//
// It also keeps the account of RFC 9000 8.1 for every server: at most three times the bytes to an
// address that cannot have been validated yet (invariant I-7).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "core/quic/datagram_batch.h"
#include "core/quic/transmit_target.h"
#include "sim/link.h"
#include "sim/world.h"

namespace masque {

class UdpHost {
 public:
  virtual ~UdpHost() = default;
  virtual void on_udp(const NetworkPath& path, Ecn ecn, Bytes bytes) = 0;
};

class Network {
 public:
  using HostId = uint32_t;
  enum class Kind : uint8_t { Client, Server };
  struct Packet {
    SocketAddress from;  // as the receiver sees them
    SocketAddress to;
    Ecn ecn = Ecn::NotEct;
    std::vector<uint8_t> bytes;
    Instant sent_at;
  };

  explicit Network(World& world) : world_(world) {}

  HostId attach(UdpHost& host, const IpAddress& address, Kind kind);
  void detach(HostId host) { hosts_[host]->host = nullptr; }
  // Nothing is delivered to or sent by a host that is switched off (killed, asleep).
  void set_links(HostId host, const LinkOptions& up, const LinkOptions& down);
  void set_links(HostId host, const LinkOptions& both) { set_links(host, both, both); }
  Link& up(HostId host) { return hosts_[host]->up; }
  Link& down(HostId host) { return hosts_[host]->down; }

  // Puts a NAT with a public address before the host.
  void add_nat(HostId host, const IpAddress& public_address);
  // The NAT forgets its mappings; the next packet out gets a new port, or a new address too.
  void rebind_port(HostId host);
  void rebind_address(HostId host, const IpAddress& public_address);

  void send(HostId from, const NetworkPath& path, Ecn ecn, Bytes bytes);
  // From anywhere, with any source address: an attacker, or a packet seen before.
  void inject(Packet packet);
  // Sees every packet that reaches a host's access link; true: it is dropped.
  void set_filter(std::function<bool(const Packet&)> filter) { filter_ = std::move(filter); }

  uint64_t datagrams_sent() const { return sent_; }
  uint64_t datagrams_delivered() const { return delivered_; }
  // Bytes exchanged between a server and one address, as the server counts.
  struct Account {
    uint64_t received = 0, sent = 0;
    std::optional<Instant> reached_at;  // something came through to that address
    bool may_be_validated = false;      // and it has sent since
  };
  const Account* account(const SocketAddress& remote) const;

 private:
  struct Nat {
    IpAddress address;
    std::map<SocketAddress, SocketAddress> out;   // inside -> public
    std::map<SocketAddress, SocketAddress> back;  // public -> inside
  };
  struct Attached {
    UdpHost* host = nullptr;
    IpAddress address;
    Kind kind = Kind::Client;
    Link up, down;
    std::optional<Nat> nat;
  };

  void cross(const Packet& packet);  // from the internet to the receiver's down link
  void deliver(HostId host, Packet packet, Link::Delivery::Content content);
  void corrupt(std::vector<uint8_t>& bytes);
  std::optional<HostId> host_of(const IpAddress& address) const;
  void count_sent(const Packet& packet);

  World& world_;
  std::vector<std::unique_ptr<Attached>> hosts_;
  std::map<SocketAddress, Account> accounts_;
  std::function<bool(const Packet&)> filter_;
  uint16_t next_public_port_ = 20'000;
  uint64_t sent_ = 0;
  uint64_t delivered_ = 0;
};

// The transmit side of a host: cuts the runs of a batch into datagrams.
class NetworkTransmit final : public TransmitTarget {
 public:
  NetworkTransmit(Network& network, Network::HostId host) : network_(network), host_(host) {}
  TransmitBatch& batch() override { return batch_; }
  void flush() override;

 private:
  Network& network_;
  Network::HostId host_;
  TransmitBatch batch_;
};

}  // namespace masque
