// SPDX-License-Identifier: Apache-2.0
// What travels inside the tunnels: packets that can be told apart, the ledger that knows every one
// of them, and the nodes that send and receive them in the place of kernels and programs.
//
// The ledger checks, at every arrival (faults.md 2.2):
//   I-1 the packet equals one that was sent (TTL, ECN and the IPv4 header checksum may differ)
//   I-2 it arrives at most once
//   I-3 it was not one of those that must never arrive (spoofed, not allowed, after a revocation)
//   I-4 it arrives at a node that has its destination address
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/ip/icmp.h"
#include "core/ip/packet.h"
#include "core/tunnel/packet_sink.h"
#include "sim/world.h"

namespace masque {

class InnerNode;

// The first 8 bytes after a UDP or an echo header.
struct InnerId {
  uint16_t flow = 0;
  uint32_t sequence = 0;
};

struct UdpContent {
  IpAddress source, destination;
  uint16_t port = 9;
  InnerId id;
  Bytes data;              // after the id
  size_t packet_size = 0;  // filled up to it; 0: as small as possible
  uint8_t ttl = 64;
};
std::vector<uint8_t> make_udp_packet(const UdpContent& content);
std::vector<uint8_t> make_echo_request(const IpAddress& source, const IpAddress& destination,
                                       InnerId id, size_t packet_size);

class PacketLedger {
 public:
  enum class Fate : uint8_t { MayArrive, MustNotArrive };
  // What a flow hears of its packets.
  using Listener =
      std::function<void(InnerNode& at, const IpPacketView& view, Bytes packet, InnerId id)>;

  explicit PacketLedger(World& world) : world_(world) {}

  uint16_t new_flow(Listener listener);
  void end_flow(uint16_t flow) { listeners_.erase(flow); }
  void sent(Bytes packet, std::string_view from, Fate fate = Fate::MayArrive);
  void arrived(InnerNode& at, Bytes packet);

  uint64_t packets_sent() const { return sent_; }
  uint64_t packets_arrived() const { return arrived_; }

 private:
  struct Entry {
    uint64_t digest = 0;
    uint64_t payload = 0;
    std::string from;
    Fate fate = Fate::MayArrive;
    uint32_t arrivals = 0;
  };
  enum class Role : uint8_t { Datagram, Reply };
  using Key = std::pair<uint64_t, Role>;
  static std::optional<std::pair<Key, InnerId>> key_of(const IpPacketView& view, Bytes packet);

  World& world_;
  std::map<Key, Entry> entries_;
  std::map<uint16_t, Listener> listeners_;
  uint16_t next_flow_ = 1;
  uint64_t sent_ = 0;
  uint64_t arrived_ = 0;
};

// A node inside: the client's own kernel and programs, a host behind the gateway, a branch network.
class InnerNode {
 public:
  // The sink is the TUN, or a route to it.
  using Output = std::function<void(Bytes packet)>;

  InnerNode(World& world, PacketLedger& ledger, std::string name)
      : world_(world), ledger_(ledger), name_(std::move(name)) {}

  void set_output(Output output) { output_ = std::move(output); }
  // Packets to former addresses may still be under way for a while.
  void set_addresses(const std::vector<IpPrefix>& addresses);
  std::optional<IpAddress> address(IpVersion version) const;
  bool has(const IpAddress& address) const;

  void send(Bytes packet, PacketLedger::Fate fate = PacketLedger::Fate::MayArrive);
  // A packet comes out of the TUN: checked, echo requests are answered, flows are told.
  void deliver(Bytes packet);

  const std::string& name() const { return name_; }
  uint64_t received() const { return received_; }
  // What ICMP has told.
  std::optional<size_t> path_mtu() const { return path_mtu_; }
  void forget_path_mtu() { path_mtu_.reset(); }
  uint64_t icmp_errors(IcmpErrorKind kind) const { return icmp_errors_[static_cast<size_t>(kind)]; }
  enum class Echo : uint8_t { Answer, Ignore };
  void set_echo(Echo echo) { echo_ = echo; }

 private:
  void on_icmp(const IpPacketView& view, Bytes packet);

  World& world_;
  PacketLedger& ledger_;
  std::string name_;
  Output output_;
  std::vector<IpPrefix> addresses_;
  std::deque<std::pair<Instant, IpPrefix>> former_;
  std::optional<size_t> path_mtu_;
  std::array<uint64_t, 5> icmp_errors_{};
  Echo echo_ = Echo::Answer;
  uint64_t received_ = 0;
};

}  // namespace masque
