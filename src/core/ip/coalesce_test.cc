// SPDX-License-Identifier: Apache-2.0
#include "core/ip/coalesce.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>

#include "core/ip/checksum.h"
#include "core/ip/packet_builder.h"
#include "core/ip/segment.h"
#include "core/ip/transport.h"

namespace masque {
namespace {

using Packet = std::vector<uint8_t>;

const IpAddress kV6A = IpAddress::parse("2001:db8::1").value();
const IpAddress kV6B = IpAddress::parse("2001:db8::2").value();

std::vector<uint8_t> numbered(size_t size, uint32_t start = 0) {
  std::vector<uint8_t> out(size);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<uint8_t>((start + i) * 31 >> 3);
  return out;
}

bool add(PacketCoalescer& coalescer, const Packet& packet) {
  return coalescer.add(parse_ip_packet(packet).value(), packet);
}

std::vector<uint32_t> merged_counts(
    const std::vector<Packet>& packets,
    PacketCoalescer::Merge merge = PacketCoalescer::Merge::TcpAndUdp) {
  PacketCoalescer coalescer(merge);
  for (const Packet& packet : packets) EXPECT_TRUE(add(coalescer, packet));
  std::vector<uint32_t> out;
  for (const CoalescedPacket& result : coalescer.flush()) out.push_back(result.packets);
  return out;
}

// A TCP stream of `count` full segments with rising ids.
std::vector<Packet> stream(size_t count, PacketSpec spec = {}, size_t size = 1000) {
  std::vector<Packet> out;
  for (size_t i = 0; i < count; ++i) {
    spec.payload = numbered(size, spec.sequence);
    out.push_back(build_packet(spec));
    spec.sequence += static_cast<uint32_t>(size);
    ++spec.id;
  }
  return out;
}

using Counts = std::vector<uint32_t>;

TEST(PacketCoalescer, merges_a_tcp_stream_of_either_family) {
  EXPECT_EQ(merged_counts(stream(10)), Counts{10});
  EXPECT_EQ(merged_counts(stream(10, {.source = kV6A, .destination = kV6B})), Counts{10});
}

TEST(PacketCoalescer, what_the_tun_cannot_take_is_not_merged) {
  const auto udp = stream(4, {.protocol = ip_protocol::kUdp});
  EXPECT_EQ(merged_counts(udp), Counts{4});
  EXPECT_EQ(merged_counts(udp, PacketCoalescer::Merge::Tcp), (Counts{1, 1, 1, 1}));
  EXPECT_EQ(merged_counts(stream(2), PacketCoalescer::Merge::Tcp), Counts{2});
  EXPECT_EQ(merged_counts(stream(2), PacketCoalescer::Merge::Nothing), (Counts{1, 1}));
}

TEST(PacketCoalescer, single_packet_is_unchanged_and_complete) {
  PacketCoalescer coalescer(PacketCoalescer::Merge::Tcp);
  const Packet packet = stream(1)[0];
  ASSERT_TRUE(add(coalescer, packet));
  const auto results = coalescer.flush();
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].offload.gso, GsoType::None);
  EXPECT_EQ(results[0].offload.checksum, ChecksumState::Complete);
  EXPECT_EQ(to_hex(results[0].packet), to_hex(packet));
}

TEST(PacketCoalescer, headers_are_what_the_kernel_expects) {
  for (const bool v6 : {false, true}) {
    for (const uint8_t protocol : {ip_protocol::kTcp, ip_protocol::kUdp}) {
      PacketSpec spec{.protocol = protocol};
      if (v6) {
        spec.source = kV6A;
        spec.destination = kV6B;
      }
      PacketCoalescer coalescer(PacketCoalescer::Merge::TcpAndUdp);
      for (const Packet& packet : stream(3, spec)) ASSERT_TRUE(add(coalescer, packet));
      const auto results = coalescer.flush();
      ASSERT_EQ(results.size(), 1u);
      const CoalescedPacket& result = results[0];
      const bool is_udp = protocol == ip_protocol::kUdp;
      const uint16_t offset = v6 ? 40 : 20;
      EXPECT_EQ(result.offload.gso, is_udp ? GsoType::Udp : v6 ? GsoType::TcpV6 : GsoType::TcpV4);
      EXPECT_EQ(result.offload.checksum, ChecksumState::Partial);
      EXPECT_EQ(result.offload.gso_size, 1000);
      EXPECT_EQ(result.offload.header_length, offset + (is_udp ? 8 : 20));
      EXPECT_EQ(result.offload.checksum_start, offset);
      EXPECT_EQ(result.offload.checksum_offset, is_udp ? 6 : 16);
      EXPECT_EQ(result.packet.size(), result.offload.header_length + 3000u);
      // The lengths and the IPv4 checksum are those of the whole.
      EXPECT_TRUE(parse_ip_packet(result.packet));
      const uint8_t* transport = result.packet.data() + offset;
      if (is_udp) {
        EXPECT_EQ(load_be16(transport + 4), 3008);
      }
      // NEEDS_CSUM: the field is the folded, not inverted, pseudo-header sum.
      InternetSum pseudo;
      pseudo.add_pseudo_header(spec.source, spec.destination, protocol,
                               static_cast<uint32_t>(result.packet.size() - offset));
      EXPECT_EQ(load_be16(transport + result.offload.checksum_offset), pseudo.folded());
    }
  }
}

TEST(PacketCoalescer, headroom_is_writable_and_packets_do_not_touch) {
  PacketCoalescer coalescer(PacketCoalescer::Merge::Tcp);
  std::vector<Packet> packets = stream(3);
  packets.push_back(build_packet({.protocol = 1, .payload = numbered(33)}));
  packets.push_back(build_packet({.protocol = 1, .payload = numbered(7)}));
  for (const Packet& packet : packets) ASSERT_TRUE(add(coalescer, packet));
  const auto results = coalescer.flush();
  std::vector<std::string> before;
  for (const auto& result : results) before.push_back(to_hex(result.packet));
  for (const auto& result : results) {
    std::fill_n(result.packet.data() - PacketCoalescer::kHeadroom, PacketCoalescer::kHeadroom,
                uint8_t{0xee});
  }
  for (size_t i = 0; i < results.size(); ++i) EXPECT_EQ(to_hex(results[i].packet), before[i]);
}

// Two packets that differ in one respect only: the kernel would not merge them, so we do not.
TEST(PacketCoalescer, never_merges_what_the_kernel_would_not) {
  const PacketSpec base{.payload = numbered(100)};
  const auto second_with = [&](auto change) {
    PacketSpec spec = base;
    spec.sequence = 100;
    spec.id = 1;
    change(spec);
    return merged_counts({build_packet(base), build_packet(spec)});
  };
  const Counts apart{1, 1};
  EXPECT_EQ(second_with([](PacketSpec&) {}), Counts{2});
  EXPECT_EQ(second_with([](PacketSpec& s) { s.traffic_class = 1; }), apart) << "ECN";
  EXPECT_EQ(second_with([](PacketSpec& s) { s.traffic_class = 4; }), apart) << "DSCP";
  EXPECT_EQ(second_with([](PacketSpec& s) { s.ttl = 63; }), apart);
  EXPECT_EQ(second_with([](PacketSpec& s) { s.fragment_field = 0; }), apart) << "DF";
  EXPECT_EQ(second_with([](PacketSpec& s) { s.fragment_field = 0x8000 | 0x4000; }), apart)
      << "reserved flag";
  EXPECT_EQ(second_with([](PacketSpec& s) { s.fragment_field = 0x2000; }), apart)
      << "first fragment";
  EXPECT_EQ(second_with([](PacketSpec& s) { s.source_port = 1; }), apart);
  EXPECT_EQ(second_with([](PacketSpec& s) { s.destination_port = 1; }), apart);
  EXPECT_EQ(second_with([](PacketSpec& s) { s.source = IpAddress::v4(1); }), apart);
  EXPECT_EQ(second_with([](PacketSpec& s) { s.destination = IpAddress::v4(1); }), apart);
  EXPECT_EQ(second_with([](PacketSpec& s) { s.protocol = ip_protocol::kUdp; }), apart);
  EXPECT_EQ(second_with([](PacketSpec& s) { s.sequence = 101; }), apart) << "a gap";
  EXPECT_EQ(second_with([](PacketSpec& s) { s.sequence = 99; }), apart) << "an overlap";
  EXPECT_EQ(second_with([](PacketSpec& s) { s.acknowledgement = 2; }), apart);
  EXPECT_EQ(second_with([](PacketSpec& s) { s.window = 1; }), apart);
  EXPECT_EQ(second_with([](PacketSpec& s) { s.tcp_options = {1, 1, 1, 1}; }), apart);
  EXPECT_EQ(second_with([](PacketSpec& s) { s.ip_options = {1, 1, 1, 1}; }), apart);
  EXPECT_EQ(second_with([](PacketSpec& s) { s.id = 7; }), apart) << "id";
  EXPECT_EQ(second_with([](PacketSpec& s) { s.payload = numbered(101); }), apart)
      << "longer than the first";
  EXPECT_EQ(second_with([](PacketSpec& s) { s.payload.clear(); }), apart) << "a pure ACK";
  for (const int flag : {0x01, 0x02, 0x04, 0x20, 0x40, 0x80}) {
    EXPECT_EQ(
        second_with([flag](PacketSpec& s) { s.flags = static_cast<uint8_t>(s.flags | flag); }),
        apart)
        << flag;
  }
  EXPECT_EQ(second_with([](PacketSpec& s) { s.flags = 0; }), apart) << "no ACK";
  EXPECT_EQ(second_with([](PacketSpec& s) { s.id = 0; }), Counts{2}) << "DF with a fixed id";
}

TEST(PacketCoalescer, timestamps_must_be_equal_to_merge) {
  PacketSpec spec{.tcp_options = from_hex("0101080a0000000100000002").value()};
  EXPECT_EQ(merged_counts(stream(3, spec)), Counts{3});
  auto packets = stream(1, spec);
  spec.sequence = 1000;
  spec.id = 1;
  spec.tcp_options[7] = 2;
  packets.push_back(stream(1, spec)[0]);
  EXPECT_EQ(merged_counts(packets), (Counts{1, 1}));
}

TEST(PacketCoalescer, fixed_and_rising_ids_do_not_mix_and_without_df_only_rising) {
  const auto ids = [](const std::vector<uint16_t>& list, uint16_t fragment_field) {
    std::vector<Packet> packets;
    PacketSpec spec{.fragment_field = fragment_field, .payload = numbered(10)};
    for (const uint16_t id : list) {
      spec.id = id;
      packets.push_back(build_packet(spec));
      spec.sequence += 10;
    }
    return merged_counts(packets);
  };
  EXPECT_EQ(ids({5, 5, 5}, 0x4000), Counts{3});
  EXPECT_EQ(ids({5, 6, 7}, 0x4000), Counts{3});
  EXPECT_EQ(ids({5, 5, 6}, 0x4000), (Counts{2, 1}));
  EXPECT_EQ(ids({5, 6, 6}, 0x4000), (Counts{2, 1}));
  EXPECT_EQ(ids({65535, 0, 1}, 0), Counts{3});
  EXPECT_EQ(ids({5, 5}, 0), (Counts{1, 1}));
}

TEST(PacketCoalescer, ipv6_flow_label_and_extension_headers) {
  PacketSpec spec{.source = kV6A, .destination = kV6B, .payload = numbered(10)};
  const Packet first = build_packet(spec);
  spec.sequence = 10;
  const Packet second = build_packet(spec);
  EXPECT_EQ(merged_counts({first, second}), Counts{2});
  spec.flow_label = 1;
  EXPECT_EQ(merged_counts({first, build_packet(spec)}), (Counts{1, 1}));
  Packet extended = second;
  const auto options = from_hex("0600010400000000").value();
  extended.insert(extended.begin() + 40, options.begin(), options.end());
  extended[6] = ip_protocol::kDestinationOptions;
  store_be16(extended.data() + 4, static_cast<uint16_t>(extended.size() - 40));
  EXPECT_EQ(merged_counts({first, extended}), (Counts{1, 1}));
}

TEST(PacketCoalescer, push_and_short_segments_end_a_super_packet) {
  auto packets = stream(6);
  packets[2][33] |= tcp::kPsh;  // makes the checksum wrong by 8
  store_be16(packets[2].data() + 36,
             updated_checksum(load_be16(packets[2].data() + 36), 0x5010, 0x5018));
  EXPECT_EQ(merged_counts(packets), (Counts{3, 3}));

  packets = stream(2);
  PacketSpec tail{.id = 2, .sequence = 2000, .payload = numbered(1)};
  packets.push_back(build_packet(tail));
  tail.sequence = 2001;
  tail.id = 3;
  packets.push_back(build_packet(tail));
  EXPECT_EQ(merged_counts(packets), (Counts{3, 1}));
}

TEST(PacketCoalescer, wrong_checksum_passes_alone_unchanged_and_ends_the_flow) {
  auto packets = stream(4);
  packets[1].back() ^= 1;
  PacketCoalescer coalescer(PacketCoalescer::Merge::Tcp);
  for (const Packet& packet : packets) ASSERT_TRUE(add(coalescer, packet));
  const auto results = coalescer.flush();
  ASSERT_EQ(results.size(), 3u);
  EXPECT_EQ(to_hex(results[1].packet), to_hex(packets[1]));
  EXPECT_EQ(results[2].packets, 2u);
  EXPECT_EQ(coalescer.counters().bad_checksum, 1u);
}

TEST(PacketCoalescer, a_pushed_packet_out_of_sequence_is_not_overtaken) {
  const auto packets = stream(2);
  const Packet pushed =
      build_packet({.id = 9, .sequence = 5000, .flags = 0x18, .payload = numbered(10)});
  EXPECT_EQ(merged_counts({packets[0], pushed, packets[1]}), (Counts{1, 1, 1}));
}

TEST(PacketCoalescer, udp_without_checksum_or_with_a_wrong_length_passes_alone) {
  const auto good = stream(2, {.protocol = ip_protocol::kUdp});
  EXPECT_EQ(merged_counts(good), Counts{2});
  auto none = good;
  for (Packet& packet : none) store_be16(packet.data() + 26, 0);
  EXPECT_EQ(merged_counts(none), (Counts{1, 1}));
  auto wrong = good;
  store_be16(wrong[1].data() + 24, 1007);
  EXPECT_EQ(merged_counts(wrong), (Counts{1, 1}));
  PacketSpec empty{.protocol = ip_protocol::kUdp};
  EXPECT_EQ(merged_counts({build_packet(empty), build_packet(empty)}), (Counts{1, 1}));
}

TEST(PacketCoalescer, sizes_at_the_limit_and_past_it) {
  // 20 + 20 + n * 1000 <= 65535
  EXPECT_EQ(merged_counts(stream(65)), Counts{65});
  EXPECT_EQ(merged_counts(stream(66)), (Counts{65, 1}));
  const auto udp = stream(65, {.protocol = ip_protocol::kUdp}, 100);
  EXPECT_EQ(merged_counts(udp), (Counts{64, 1}));
}

TEST(PacketCoalescer, flows_at_the_limit_and_past_it) {
  PacketCoalescer coalescer(PacketCoalescer::Merge::Tcp);
  PacketSpec spec{.payload = numbered(10)};
  for (size_t i = 0; i < PacketCoalescer::kFlowsMax; ++i) {
    spec.source_port = static_cast<uint16_t>(i);
    EXPECT_TRUE(add(coalescer, build_packet(spec)));
  }
  spec.source_port = 9999;
  EXPECT_FALSE(add(coalescer, build_packet(spec)));
  EXPECT_EQ(coalescer.counters().full, 1u);
  EXPECT_EQ(coalescer.flush().size(), PacketCoalescer::kFlowsMax);
  EXPECT_TRUE(coalescer.flush().empty());
  EXPECT_TRUE(add(coalescer, build_packet(spec)));
  EXPECT_EQ(coalescer.flush().size(), 1u);
}

TEST(PacketCoalescer, room_for_lone_packets_at_the_limit_and_past_it) {
  PacketCoalescer coalescer(PacketCoalescer::Merge::Tcp);
  const Packet large = build_packet({.protocol = 1, .payload = numbered(kPacketSizeMax - 20)});
  size_t added = 0;
  while (add(coalescer, large)) ++added;
  EXPECT_EQ(added, PacketCoalescer::kAloneBytes / (kPacketSizeMax + 17));
  EXPECT_EQ(coalescer.flush().size(), added);
  const Packet small = build_packet({.protocol = 1});
  added = 0;
  while (add(coalescer, small)) ++added;
  EXPECT_EQ(added, PacketCoalescer::kPacketsMax);
}

// What the far end would have received: every super-packet split as the kernel splits it.
void split_into(const CoalescedPacket& result, std::vector<Packet>& out) {
  auto splitter = SuperPacketSplitter::make(result.offload, result.packet);
  ASSERT_TRUE(splitter.has_value());
  EXPECT_EQ(splitter->count(), result.packets);
  PacketSlices slices;
  while (splitter->next(slices)) {
    Packet packet(slices.head.begin(), slices.head.end());
    packet.insert(packet.end(), slices.body.begin(), slices.body.end());
    out.push_back(std::move(packet));
  }
}

// The id of an atomic datagram means nothing (RFC 6864 4.1), and a fixed one rises after a split.
void forget_atomic_id(Packet& packet) {
  if (packet[0] >> 4 != 4 || load_be16(packet.data() + 6) != 0x4000) return;
  store_be16(packet.data() + 4, 0);
  refresh_ipv4_checksum(packet);
}

std::string flow_of(const Packet& packet) {
  const IpPacketView view = parse_ip_packet(packet).value();
  std::string flow =
      view.source.to_string() + ">" + view.destination.to_string() + std::to_string(view.protocol);
  if (view.fragment != Fragment::Later) {
    flow += to_hex(Bytes(packet).subspan(
        view.transport_offset, std::min<size_t>(4, packet.size() - view.transport_offset)));
  }
  return flow;
}

std::map<std::string, std::vector<Packet>> by_flow(std::vector<Packet> packets) {
  std::map<std::string, std::vector<Packet>> out;
  for (Packet& packet : packets) {
    forget_atomic_id(packet);
    out[flow_of(packet)].push_back(std::move(packet));
  }
  return out;
}

// A few flows whose packets mostly continue one another, with all kinds of interruptions.
class TrafficSource {
 public:
  Packet next() {
    const size_t which = *rc::gen::inRange<size_t>(0, specs_.size());
    PacketSpec& spec = specs_[which];
    const int event = *rc::gen::inRange(0, 24);
    spec.payload = numbered(event == 0   ? 0
                            : event == 1 ? 37
                            : event == 2 ? 222
                                         : 100,
                            spec.sequence);
    spec.flags = event == 3 ? 0x18 : event == 4 ? 0x11 : event == 5 ? 0x50 : 0x10;
    if (event == 6) spec.traffic_class ^= 3;
    if (event == 7) ++spec.acknowledgement;
    if (event == 8) spec.sequence += 50;
    if (event == 9) spec.id = static_cast<uint16_t>(spec.id + 5);
    if (event == 10) --spec.ttl;
    PacketSpec now = spec;
    if (event == 11) now.fragment_field = 0x2000;
    if (event == 12) now.fragment_field = 0x0010;
    if (event == 13) now.ip_options = {1, 1, 1, 1};
    Packet packet = build_packet(now);
    if (event == 14) packet.back() ^= 0x55;
    spec.sequence += static_cast<uint32_t>(spec.payload.size());
    if (which % 2 == 0) ++spec.id;
    return packet;
  }

 private:
  std::vector<PacketSpec> specs_ = {
      {.source_port = 1},
      {.source_port = 2},
      {.source_port = 3, .sequence = 0xffffff80},
      {.source = kV6A, .destination = kV6B, .source_port = 4},
      {.protocol = ip_protocol::kUdp, .source_port = 5},
      {.source = kV6A, .destination = kV6B, .protocol = ip_protocol::kUdp, .source_port = 6},
      {.protocol = ip_protocol::kUdp, .fragment_field = 0, .source_port = 7},
      {.protocol = 1},
  };
};

TEST(PacketCoalescer, property_split_of_merged_is_the_original_and_flows_keep_their_order) {
  uint64_t merged = 0;
  EXPECT_TRUE(rc::check([&] {
    TrafficSource source;
    PacketCoalescer coalescer(
        *rc::gen::element(PacketCoalescer::Merge::Tcp, PacketCoalescer::Merge::TcpAndUdp));
    const size_t count = *rc::gen::inRange<size_t>(0, 200);
    std::vector<Packet> in;
    std::vector<Packet> out;
    const auto flush = [&] {
      for (const CoalescedPacket& result : coalescer.flush()) split_into(result, out);
    };
    for (size_t i = 0; i < count; ++i) {
      in.push_back(source.next());
      if (!add(coalescer, in.back())) {
        flush();
        RC_ASSERT(add(coalescer, in.back()));
      }
    }
    flush();
    RC_ASSERT(in.size() == out.size());
    RC_ASSERT(by_flow(in) == by_flow(out));
    RC_ASSERT(coalescer.counters().packets == in.size());
    merged += coalescer.counters().merged;
  }));
  EXPECT_GT(merged, 500u) << "the property must not hold only because nothing is merged";
}

}  // namespace
}  // namespace masque
