// SPDX-License-Identifier: Apache-2.0
#include "core/ip/segment.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>

#include "core/ip/checksum.h"
#include "core/ip/packet_builder.h"
#include "core/ip/transport.h"

namespace masque {
namespace {

std::vector<uint8_t> bytes_of(const PacketSlices& slices) {
  std::vector<uint8_t> out(slices.head.begin(), slices.head.end());
  out.insert(out.end(), slices.body.begin(), slices.body.end());
  return out;
}

std::vector<std::vector<uint8_t>> split(const OffloadInfo& info, std::vector<uint8_t> packet) {
  auto splitter = SuperPacketSplitter::make(info, packet);
  EXPECT_TRUE(splitter.has_value());
  std::vector<std::vector<uint8_t>> out;
  PacketSlices slices;
  while (splitter && splitter->next(slices)) {
    EXPECT_LE(slices.size(), splitter->packet_size_max());
    out.push_back(bytes_of(slices));
  }
  EXPECT_EQ(out.size(), splitter ? splitter->count() : 0);
  return out;
}

std::vector<uint8_t> numbered(size_t size) {
  std::vector<uint8_t> out(size);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<uint8_t>(i * 7 + i / 256);
  return out;
}

const IpAddress kV6A = IpAddress::parse("2001:db8::1").value();
const IpAddress kV6B = IpAddress::parse("2001:db8::2").value();

// The super-packet as the kernel hands it over: one large packet with a partial checksum.
struct Super {
  PacketSpec spec;
  uint16_t gso_size = 0;

  size_t transport_offset() const {
    return spec.source.version() == IpVersion::V4 ? kIpv4HeaderSize + spec.ip_options.size()
                                                  : kIpv6HeaderSize;
  }
  bool is_udp() const { return spec.protocol == ip_protocol::kUdp; }
  std::vector<uint8_t> packet() const {
    std::vector<uint8_t> out = build_packet(spec);
    InternetSum pseudo;
    pseudo.add_pseudo_header(spec.source, spec.destination, spec.protocol,
                             static_cast<uint32_t>(out.size() - transport_offset()));
    store_be16(out.data() + transport_offset() + info().checksum_offset, pseudo.folded());
    return out;
  }
  OffloadInfo info() const {
    const bool v4 = spec.source.version() == IpVersion::V4;
    return {.gso = is_udp() ? GsoType::Udp : (v4 ? GsoType::TcpV4 : GsoType::TcpV6),
            .checksum = ChecksumState::Partial,
            .gso_size = gso_size,
            .checksum_start = static_cast<uint16_t>(transport_offset()),
            .checksum_offset = static_cast<uint16_t>(is_udp() ? udp::kChecksum : tcp::kChecksum)};
  }
  // What the sender would have sent without offload, built field by field.
  std::vector<std::vector<uint8_t>> expected() const {
    std::vector<std::vector<uint8_t>> out;
    const size_t total = spec.payload.size();
    for (size_t at = 0; at < total || out.empty(); at += gso_size) {
      PacketSpec segment = spec;
      const size_t end = std::min<size_t>(total, at + gso_size);
      segment.payload.assign(spec.payload.begin() + static_cast<ptrdiff_t>(at),
                             spec.payload.begin() + static_cast<ptrdiff_t>(end));
      segment.id = static_cast<uint16_t>(spec.id + out.size());
      segment.sequence = spec.sequence + static_cast<uint32_t>(at);
      if (end != total) segment.flags &= static_cast<uint8_t>(~(tcp::kFin | tcp::kPsh));
      if (at != 0) segment.flags &= static_cast<uint8_t>(~tcp::kCwr);
      out.push_back(build_packet(segment));
    }
    return out;
  }
};

TEST(SuperPacketSplitter, plain_packet_passes_unchanged) {
  const auto packet = build_packet({.payload = numbered(100)});
  EXPECT_EQ(split({}, packet), std::vector<std::vector<uint8_t>>{packet});
}

TEST(SuperPacketSplitter, partial_checksum_is_completed_in_place) {
  for (const uint8_t protocol : {ip_protocol::kTcp, ip_protocol::kUdp}) {
    Super super{.spec = {.protocol = protocol, .payload = numbered(101)}};
    OffloadInfo info = super.info();
    info.gso = GsoType::None;
    EXPECT_EQ(split(info, super.packet()),
              std::vector<std::vector<uint8_t>>{build_packet(super.spec)});
  }
}

TEST(SuperPacketSplitter, tcp_v4_flags_ids_and_sequence) {
  const Super super{.spec = {.id = 0xfffe,
                             .sequence = 0xfffffc00,
                             .flags = tcp::kAck | tcp::kPsh | tcp::kFin | tcp::kCwr | 0x40,
                             .tcp_options = from_hex("0101080a0000000100000002").value(),
                             .payload = numbered(3500)},
                    .gso_size = 1000};
  const auto packets = split(super.info(), super.packet());
  ASSERT_EQ(packets.size(), 4u);
  EXPECT_EQ(packets, super.expected());
  EXPECT_EQ(packets[0][33], tcp::kAck | tcp::kCwr | 0x40);
  EXPECT_EQ(packets[1][33], tcp::kAck | 0x40);
  EXPECT_EQ(packets[3][33], tcp::kAck | tcp::kPsh | tcp::kFin | 0x40);
  EXPECT_EQ(load_be16(packets[3].data() + 4), 1);                   // the id wraps
  EXPECT_EQ(load_be32(packets[3].data() + 24), 0xfffffc00 + 3000);  // so does the sequence
}

TEST(SuperPacketSplitter, property_equals_what_would_have_been_sent_without_offload) {
  EXPECT_TRUE(rc::check([](uint32_t sequence, uint16_t id, uint8_t flags, uint8_t tos) {
    const bool v6 = *rc::gen::arbitrary<bool>();
    Super super{.spec = {.protocol = *rc::gen::element(ip_protocol::kTcp, ip_protocol::kUdp),
                         .traffic_class = tos,
                         .id = id,
                         .sequence = sequence,
                         .flags = flags,
                         .payload = numbered(*rc::gen::inRange<size_t>(0, 9000))},
                .gso_size = *rc::gen::inRange<uint16_t>(8, 3000)};
    if (v6) {
      super.spec.source = kV6A;
      super.spec.destination = kV6B;
    } else {
      super.spec.ip_options.resize(*rc::gen::inRange<size_t>(0, 11) * 4, 1);
    }
    super.spec.tcp_options.resize(*rc::gen::inRange<size_t>(0, 11) * 4, 1);
    RC_ASSERT(split(super.info(), super.packet()) == super.expected());
  }));
}

TEST(SuperPacketSplitter, udp_checksum_of_zero_is_sent_as_ffff) {
  // Payload chosen so that the sum of one segment is all ones.
  Super super{.spec = {.protocol = ip_protocol::kUdp, .payload = {0, 0, 0, 0}}, .gso_size = 2};
  const uint16_t checksum = load_be16(super.expected()[0].data() + 26);
  store_be16(super.spec.payload.data(), checksum);
  const auto packets = split(super.info(), super.packet());
  EXPECT_EQ(load_be16(packets[0].data() + 26), 0xffff);
  EXPECT_EQ(packets, super.expected());
}

TEST(SuperPacketSplitter, ipv6_extension_headers_are_repeated) {
  Super super{.spec = {.source = kV6A, .destination = kV6B, .payload = numbered(2000)},
              .gso_size = 900};
  auto packet = super.packet();
  const auto options = from_hex("0600010400000000").value();
  packet.insert(packet.begin() + 40, options.begin(), options.end());
  packet[6] = ip_protocol::kDestinationOptions;
  store_be16(packet.data() + 4, static_cast<uint16_t>(packet.size() - 40));
  OffloadInfo info = super.info();
  info.checksum_start = 48;
  const auto packets = split(info, packet);
  ASSERT_EQ(packets.size(), 3u);
  for (const auto& segment : packets) {
    const IpPacketView view = parse_ip_packet(segment).value();
    EXPECT_EQ(view.transport_offset, 48);
    InternetSum sum;
    sum.add_pseudo_header(view.source, view.destination, 6,
                          static_cast<uint32_t>(segment.size() - 48));
    sum.add(Bytes(segment).subspan(48));
    EXPECT_EQ(sum.checksum(), 0);
  }
}

TEST(SuperPacketSplitter, faults) {
  const Super good{.spec = {.payload = numbered(4000)}, .gso_size = 1000};
  const auto fault = [](const OffloadInfo& info, std::vector<uint8_t> packet) {
    const auto made = SuperPacketSplitter::make(info, packet);
    return made ? std::string_view("none") : to_string(made.error());
  };
  const auto with = [&](auto change) {
    OffloadInfo info = good.info();
    change(info);
    return info;
  };
  EXPECT_EQ(fault(good.info(), good.packet()), "none");
  EXPECT_EQ(fault(good.info(), {}), "bad packet");
  EXPECT_EQ(fault(with([](auto& i) { i.gso = GsoType::TcpV6; }), good.packet()), "bad packet");
  EXPECT_EQ(fault(with([](auto& i) { i.gso = GsoType::Udp; }), good.packet()), "bad packet");
  EXPECT_EQ(fault(with([](auto& i) { i.gso_size = 0; }), good.packet()), "bad segment size");
  EXPECT_EQ(fault(with([](auto& i) { i.checksum_start = 21; }), good.packet()),
            "bad checksum range");
  EXPECT_EQ(fault(with([](auto& i) { i.checksum_offset = 6; }), good.packet()),
            "bad checksum range");
  for (const auto& [start, offset] : {std::pair{4039, 0}, {65535, 65535}, {20, 4019}, {19, 6}}) {
    EXPECT_EQ(fault({.checksum = ChecksumState::Partial,
                     .checksum_start = static_cast<uint16_t>(start),
                     .checksum_offset = static_cast<uint16_t>(offset)},
                    good.packet()),
              "bad checksum range")
        << start;
  }

  auto fragment = good.packet();
  fragment[6] = 0x20;
  refresh_ipv4_checksum(fragment);
  EXPECT_EQ(fault(good.info(), fragment), "fragmented");

  auto short_header = good.packet();
  short_header[32] = 0x40;
  EXPECT_EQ(fault(good.info(), short_header), "bad packet");

  auto bad_udp =
      Super{.spec = {.protocol = ip_protocol::kUdp, .payload = numbered(100)}, .gso_size = 10};
  auto packet = bad_udp.packet();
  packet[25] ^= 1;
  EXPECT_EQ(fault(bad_udp.info(), packet), "bad packet");
}

TEST(SuperPacketSplitter, segments_at_the_limit_and_past_it) {
  Super super{.spec = {.payload = numbered(kSegmentsMax * 2)}, .gso_size = 2};
  EXPECT_EQ(split(super.info(), super.packet()).size(), kSegmentsMax);
  super.spec.payload.push_back(0);
  auto packet = super.packet();
  EXPECT_EQ(SuperPacketSplitter::make(super.info(), packet).error(), SegmentFault::BadSegmentSize);
}

TEST(SuperPacketSplitter, headers_at_the_limit_and_past_it) {
  for (const size_t options : {192u, 200u}) {  // 40 + options + 20 = 252, 260
    Super super{.spec = {.source = kV6A, .destination = kV6B, .payload = numbered(2000)},
                .gso_size = 900};
    auto packet = super.packet();
    std::vector<uint8_t> header(options);
    header[0] = ip_protocol::kTcp;
    header[1] = static_cast<uint8_t>(options / 8 - 1);
    packet.insert(packet.begin() + 40, header.begin(), header.end());
    packet[6] = ip_protocol::kDestinationOptions;
    store_be16(packet.data() + 4, static_cast<uint16_t>(packet.size() - 40));
    OffloadInfo info = super.info();
    info.checksum_start = static_cast<uint16_t>(40 + options);
    const auto made = SuperPacketSplitter::make(info, packet);
    EXPECT_EQ(made.has_value(), 60 + options <= kSegmentHeadMax) << options;
  }
}

}  // namespace
}  // namespace masque
