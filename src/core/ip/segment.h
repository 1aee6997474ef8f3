// SPDX-License-Identifier: Apache-2.0
// Splits a super-packet from the TUN (TSO, USO) into the ordinary IP packets that it stands for, as
// the kernel would: lengths, IPv4 ids, TCP sequence numbers and flags, and complete checksums. The
// payload is not copied: a segment is a rewritten head, kept here, and a span of the super-packet.
// A packet that only lacks its checksum (NEEDS_CSUM) is completed in place.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <string_view>

#include "base/bytes.h"
#include "core/ip/offload.h"
#include "core/ip/packet.h"
#include "core/ip/packet_slices.h"

namespace masque {

enum class SegmentFault : uint8_t {
  BadPacket,         // not a well-formed IP packet of the announced kind
  BadChecksumRange,  // checksum_start or checksum_offset is not where the transport header is
  BadSegmentSize,    // gso_size is zero or would make more than kSegmentsMax segments
  HeadersTooLong,    // more than kSegmentHeadMax bytes of headers
  Fragmented,        // a fragment cannot be segmented
};
std::string_view to_string(SegmentFault fault);

constexpr size_t kSegmentHeadMax = 256;
constexpr size_t kSegmentsMax = 8192;  // 64 KiB in the smallest segments the kernel makes, 8 bytes

class SuperPacketSplitter {
 public:
  // `packet` stays valid and unchanged by others until the last segment was taken.
  static std::expected<SuperPacketSplitter, SegmentFault> make(const OffloadInfo& info,
                                                               MutableBytes packet);

  // The next packet, false after the last one. It is valid until the following call.
  bool next(PacketSlices& out);
  // How many packets the whole makes.
  size_t count() const { return count_; }
  // The size of the largest of them: compare it with the tunnel's limit before splitting.
  size_t packet_size_max() const;

 private:
  SuperPacketSplitter(MutableBytes packet, size_t count) : packet_(packet), count_(count) {}
  static std::expected<SuperPacketSplitter, SegmentFault> make_segmented(const OffloadInfo& info,
                                                                         MutableBytes packet);
  void prepare(const IpPacketView& view, size_t head_size, uint16_t gso_size);
  void write_ip_header(size_t segment_size);
  void write_tcp_header(Bytes body, bool last);
  void write_udp_header(Bytes body);
  uint16_t transport_checksum(Bytes body) const;

  MutableBytes packet_;
  size_t count_ = 0;
  size_t index_ = 0;
  size_t head_size_ = 0;  // 0: not segmented, the packet is handed out as it is
  size_t transport_offset_ = 0;
  size_t gso_size_ = 0;
  size_t offset_ = 0;  // payload bytes handed out
  IpVersion version_ = IpVersion::V4;
  uint8_t protocol_ = 0;
  uint8_t flags_ = 0;            // TCP flags of the super-packet
  uint16_t first_id_ = 0;        // IPv4 identification of the super-packet
  uint32_t first_sequence_ = 0;  // TCP
  uint16_t address_sum_ = 0;     // pseudo-header sum of both addresses and the protocol
  uint16_t ip_header_sum_ = 0;   // IPv4 header sum without length, id and checksum
  std::array<uint8_t, kSegmentHeadMax> head_{};
};

}  // namespace masque
