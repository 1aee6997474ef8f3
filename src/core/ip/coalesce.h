// SPDX-License-Identifier: Apache-2.0
// Merges the packets of a received batch into super-packets for the TUN (GRO in user space),
// because a write to the TUN costs ten times what a copy costs.
//
// Packets of one flow keep their order. Only what the kernel's own GRO would merge is merged: same
// addresses, ports, TOS, TTL, DF and flow label; TCP with consecutive sequence numbers, the same
// acknowledgement, window and options and no flag but ACK and a final PSH; UDP with a checksum; all
// segments of one size but a shorter last one; no IPv4 options, extension headers or fragments;
// IPv4 ids that rise by one (or, with DF, stay the same). The transport checksum of each was
// verified. Everything else passes through alone, unchanged byte for byte.
//
// No allocation after construction; everything is bounded: when it is full, add() says so.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "core/ip/offload.h"
#include "core/ip/packet.h"

namespace masque {

// One write to the TUN. The kHeadroom bytes before packet.data() are writable: the host puts the
// virtio_net_hdr there.
struct CoalescedPacket {
  OffloadInfo offload;
  MutableBytes packet;
  uint32_t packets = 1;  // how many were merged
};

class PacketCoalescer {
 public:
  static constexpr size_t kHeadroom = 16;  // at least the 10 (or 12) bytes of virtio_net_hdr
  static constexpr size_t kFlowsMax = 32;  // super-packets being built at one time
  static constexpr size_t kAloneBytes = 512 * 1024;  // room for packets that pass alone
  static constexpr size_t kPacketsMax = 1024;        // results of one batch
  static constexpr size_t kUdpSegmentsMax = 64;      // UDP_GRO_CNT_MAX of the kernel

  enum class Merge : uint8_t { Nothing, Tcp, TcpAndUdp };  // what the TUN's offloads allow
  explicit PacketCoalescer(Merge merge);
  ~PacketCoalescer();

  // Takes a copy of a packet that parse_ip_packet() accepted as `view`. False when there is no
  // room: flush() and write first, then add it again (an empty coalescer takes every packet).
  bool add(const IpPacketView& view, Bytes packet);
  // Everything added since the last flush(), in an order that keeps the order of every flow. Valid
  // until the next add().
  std::span<const CoalescedPacket> flush();
  bool empty() const { return flushed_ || results_.empty(); }

  struct Counters {
    uint64_t packets = 0;       // added
    uint64_t merged = 0;        // of these, appended to an earlier one
    uint64_t bad_checksum = 0;  // passed alone because the transport checksum is wrong
    uint64_t full = 0;          // add() found no room
  };
  const Counters& counters() const { return counters_; }

 private:
  struct Candidate;
  struct Flow;

  bool add_candidate(const Candidate& candidate, Bytes packet);
  bool add_alone(Bytes packet);
  bool start_flow(const Candidate& candidate, Bytes packet);
  void append(Flow& flow, const Candidate& candidate, Bytes packet);
  void close_flows(const IpPacketView& view, Bytes packet, bool ports_known);
  void finish(const Flow& flow);

  Merge merge_;
  Counters counters_;
  std::unique_ptr<uint8_t[]> flow_bytes_;
  std::unique_ptr<uint8_t[]> alone_bytes_;
  size_t alone_used_ = 0;
  std::vector<Flow> flows_;  // flow i is built in slot i
  std::vector<CoalescedPacket> results_;
  bool flushed_ = false;
};

}  // namespace masque
