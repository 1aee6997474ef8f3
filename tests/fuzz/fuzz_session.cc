// SPDX-License-Identifier: Apache-2.0
// One whole session under a peer that means ill and an owner that answers as the gateway and the
// client do: capsules of any kind, made or raw, in pieces; datagrams and packets both ways; time,
// a narrower path, lists of addresses and routes of any length. What it says is always legal
// capsules, its memory is bounded, and after an abort it is still.
#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "core/capsule/capsule_reader.h"
#include "core/ip/checksum.h"
#include "core/tunnel/connect_ip_session.h"
#include "tests/fuzz/fuzz_input.h"

using namespace masque;

namespace {

IpAddress address_of(IpVersion version, uint32_t number) {
  if (version == IpVersion::V4) return IpAddress::v4(0x0a000000 | (number & 0xffffff));
  std::array<uint8_t, 16> bytes{0xfd};
  store_be32(&bytes[12], number);
  return IpAddress::v6(bytes);
}
IpVersion version_of(uint8_t bit) { return (bit & 1) == 0 ? IpVersion::V4 : IpVersion::V6; }

// The peer's reader: whatever the session says must be legal.
class Reader final : public CapsuleVisitor {
 public:
  void read(Bytes data) { MASQUE_ASSERT(reader_.on_bytes(data).has_value()); }

 private:
  Result<void> on_address_assign(const AddressAssign&) override { return {}; }
  Result<void> on_address_request(const AddressRequest&) override { return {}; }
  Result<void> on_route_advertisement(const RouteAdvertisement&) override { return {}; }
  void on_datagram_capsule(Bytes) override { MASQUE_ASSERT(false); }  // never sent
  void on_unknown_capsule(CapsuleType, uint64_t) override { MASQUE_ASSERT(false); }

  CapsuleReader reader_{*this};
};

struct Channel final : DatagramChannel {
  SendResult send_packet(Instant, const PacketSlices& packet, TrafficClass) override {
    if (packet.size() > limit) return SendResult::TooLarge;
    if (room == 0) return SendResult::Blocked;
    --room;
    return SendResult::Sent;
  }
  size_t packet_size_max() const override { return limit; }
  SendingPace pace() const override { return {}; }
  size_t limit = 1400;
  size_t room = 1000;
};

struct Sink final : PacketSink, InnerPacketHandler {
  void deliver(Bytes packet) override { MASQUE_ASSERT(parse_ip_packet(packet).has_value()); }
  void on_inner_packet(Bytes packet, const IpPacketView& view) override {
    MASQUE_ASSERT(packet.size() == view.length);
  }
};

SessionOptions options_of(uint8_t draw) {
  const bool proxy = (draw & 1) != 0;
  SessionOptions options{
      .role = proxy ? SessionOptions::Role::Proxy : SessionOptions::Role::Client,
      .local_echo =
          (draw & 2) != 0 ? SessionOptions::LocalEcho::Answer : SessionOptions::LocalEcho::Kernel,
      .queue_bytes_max = 16 * 1024,
      .ipv6_probe = (draw & 4) != 0 ? MtuProbePolicy::Require : MtuProbePolicy::Measure};
  if ((draw & 8) != 0) options.release.mode = ReleaseOptions::Mode::Timed;
  if (proxy) {
    options.own_addresses = {address_of(IpVersion::V4, 1), address_of(IpVersion::V6, 1)};
    options.our_sources = PacketFilter::OurSources::Any;
    options.peer_assigns = SessionOptions::PeerAssigns::Ignore;
  } else {
    options.peer_sources = PacketFilter::PeerSources::Unknown;
    options.wanted = {IpPrefix::host(IpAddress::any(IpVersion::V4)),
                      IpPrefix::host(IpAddress::any(IpVersion::V6))};
  }
  return options;
}

class Run {
 public:
  explicit Run(FuzzInput& in) : in_(in), proxy_(false), session_(now_, options_of(first_draw(in))) {
    if (proxy_) {
      leases_ = prefixes(2);
      session_.assign_addresses(leases_);
      session_.advertise_routes(ranges(1 + in_.u8() % 3));
    }
    session_.update_mtu(now_, channel_);
    settle();
  }

  void step() {
    const uint8_t operation = in_.u8();
    switch (operation % 9) {
      case 0:
        read(in_.take(in_.u8()));
        break;
      case 1:
      case 2:
      case 3:
        read_capsule(operation);
        break;
      case 4:
        session_.on_http_datagram(now_, datagram(operation), sink_, origin(operation));
        break;
      case 5:
        send_packet(operation);
        break;
      case 6:
        change_lists(operation);
        break;
      case 7:
        advance();
        break;
      default:
        channel_.limit = in_.u16() % 2000;
        channel_.room = in_.u8();
        break;
    }
    settle();
  }

 private:
  uint8_t first_draw(FuzzInput& in) {
    const uint8_t draw = in.u8();
    proxy_ = (draw & 1) != 0;
    return draw;
  }
  // Most lists are short; the longest are those of routes, at their limit and past it.
  size_t length() {
    const uint8_t draw = in_.u8();
    return draw < 200 ? draw % 8 : draw < 254 ? 28 + draw % 40 : kAddressRangesMax + draw - 254;
  }
  std::vector<IpPrefix> prefixes(size_t count) {
    std::vector<IpPrefix> out;
    const IpVersion only = version_of(in_.u8());
    const uint32_t first = in_.u8();
    for (uint32_t i = 0; i < count; ++i) {
      const IpVersion version = count > 4 ? only : version_of(static_cast<uint8_t>(i));
      out.push_back(IpPrefix::host(address_of(version, first + i)));
    }
    return out;
  }
  std::vector<IpAddressRange> ranges(size_t count) {
    std::vector<IpAddressRange> out;
    const uint8_t draw = in_.u8();
    const bool mixed = (draw & 2) != 0 && count < 100;  // putting long lists in order takes long
    uint32_t at = in_.u16();
    for (size_t i = 0; i < count; ++i) {
      const IpVersion version = version_of(static_cast<uint8_t>(draw & 4 ? i : draw));
      const IpAddress first = address_of(version, at);
      const IpAddress last = address_of(version, at + (draw >> 6));
      out.push_back({.range = {first, last},
                     .protocol = mixed ? static_cast<uint8_t>(i % 2 * 17) : uint8_t{0}});
      at += 2 + (draw >> 6);
    }
    return out;
  }

  void read(Bytes data) {
    session_.on_stream_data(now_, data, sink_);
    answer();
  }
  // A capsule of the peer, and often a second one in the same read.
  void read_capsule(uint8_t operation) {
    ByteBuffer stream;
    for (int i = 0; i <= (operation >> 4) % 3; ++i) {
      const size_t count = length();
      switch (operation % 9) {
        case 1:
          write_entries(capsule_type::kAddressRequest, count, stream);
          break;
        case 2:
          write_entries(capsule_type::kAddressAssign, count, stream);
          break;
        default:
          encode(RouteAdvertisement{in_route_order(ranges(std::min(count, kAddressRangesMax)))},
                 stream);
          break;
      }
    }
    read(stream.view());
  }
  // As `encode`, but of any length and with Request IDs of its own.
  void write_entries(CapsuleType type, size_t count, ByteBuffer& out) {
    const IpVersion version = version_of(in_.u8());
    const uint32_t number = in_.u8();
    ByteBuffer value;
    for (size_t i = 0; i < count; ++i) {
      value.varint(type == capsule_type::kAddressRequest ? ++request_id_ : number);
      value.u8(static_cast<uint8_t>(version));
      const bool any = type == capsule_type::kAddressRequest && (number & 1) == 0;
      value.bytes(
          (any ? IpAddress::any(version) : address_of(version, number + static_cast<uint32_t>(i)))
              .bytes());
      value.u8(address_bits(version));
    }
    out.varint(type.value());
    out.varint(value.size());
    out.bytes(value.view());
  }

  // What the gateway and the client do about events.
  void answer() {
    while (const auto event = session_.poll_event()) {
      switch (*event) {
        case SessionEvent::AddressesRequested:
          session_.assign_addresses(leases_);
          MASQUE_ASSERT(session_.requests_pending().empty() ||
                        leases_.size() + 1 > kGivenAddressesMax);
          break;
        case SessionEvent::RoutesAdvertised:
          session_.accept_routes(session_.advertised_by_peer());
          break;
        default:
          break;
      }
    }
  }
  void change_lists(uint8_t operation) {
    const size_t count = length();
    if ((operation & 0x10) != 0) {
      session_.advertise_routes(ranges(count));
    } else if ((operation & 0x20) != 0) {
      session_.request_addresses(prefixes(count));
    } else if (proxy_) {
      leases_ = prefixes(count);
      session_.assign_addresses(leases_);
    }
  }

  Bytes packet(uint8_t operation) {
    const IpVersion version = version_of(operation >> 4);
    const size_t header = version == IpVersion::V4 ? kIpv4HeaderSize : kIpv6HeaderSize;
    const size_t size = header + (in_.u16() & 0x1fff);
    room_.fill(0);
    const IpAddress from = address_of(version, in_.u8());
    const IpAddress to = address_of(version, in_.u8());
    const uint8_t protocol = in_.u8();
    if (version == IpVersion::V4) {
      room_[0] = 0x45;
      store_be16(&room_[2], static_cast<uint16_t>(size));
      store_be16(&room_[6], in_.u16());
      room_[8] = 64;
      room_[9] = protocol;
      std::ranges::copy(from.bytes(), room_.begin() + 12);
      std::ranges::copy(to.bytes(), room_.begin() + 16);
      store_be16(&room_[10], internet_checksum(Bytes(room_).first(header)));
    } else {
      room_[0] = 0x60;
      store_be16(&room_[4], static_cast<uint16_t>(size - header));
      room_[6] = protocol;
      room_[7] = 64;
      std::ranges::copy(from.bytes(), room_.begin() + 8);
      std::ranges::copy(to.bytes(), room_.begin() + 24);
    }
    const Bytes head = in_.take(in_.u8() % 32);
    std::memcpy(&room_[header], head.data(), std::min(head.size(), size - header));
    return Bytes(room_).first(size);
  }
  Bytes datagram(uint8_t operation) {
    if ((operation & 0x80) != 0) return in_.take(in_.u8());
    const Bytes inner = packet(operation);
    datagram_.assign(1, 0);
    datagram_.insert(datagram_.end(), inner.begin(), inner.end());
    return datagram_;
  }
  DatagramOrigin origin(uint8_t operation) {
    if ((operation & 0x40) == 0) return {};
    return {.traffic_class = TrafficClass::RealTime, .relative_delay = Duration(1ms) * in_.u8()};
  }
  void send_packet(uint8_t operation) {
    const Bytes bytes = packet(operation);
    const PacketSlices whole{.head = bytes, .body = {}};
    const auto view = parse_ip_packet(whole);
    if (!view) return;
    const auto forwarding =
        (operation & 0x20) != 0 ? Forwarding::WeDecrement : Forwarding::KernelDecrements;
    session_.on_ip_packet(now_, whole, *view, forwarding, channel_, sink_);
  }

  void advance() {
    now_ += Duration(1ms) * in_.u16();
    session_.on_timeout(now_, channel_, sink_);
    answer();
  }

  // The end of a turn.
  void settle() {
    session_.update_mtu(now_, channel_);
    reader_.read(session_.stream_output());
    session_.consume_stream_output(session_.stream_output().size());
    session_.flush(now_, channel_, back_);
    MASQUE_ASSERT(session_.assigned_to_peer().size() <= kAssignedAddressesMax);
    MASQUE_ASSERT(session_.requests_pending().size() <= kAssignedAddressesMax);
    MASQUE_ASSERT(session_.assigned_to_us().size() <= kAssignedAddressesMax);
    MASQUE_ASSERT(session_.advertised_by_us().size() <= kAddressRangesMax);
    MASQUE_ASSERT(session_.advertised_by_peer().size() <= kAddressRangesMax);
    if (session_.abort_reason()) MASQUE_ASSERT(!session_.next_timeout());
  }

  FuzzInput& in_;
  bool proxy_;
  Instant now_{10s};
  Channel channel_;
  Sink sink_;
  WayBackToTun back_{sink_};
  Reader reader_;
  ConnectIpSession session_;
  std::vector<IpPrefix> leases_;
  uint64_t request_id_ = 0;
  std::array<uint8_t, 0x2000 + kIpv6HeaderSize> room_{};
  std::vector<uint8_t> datagram_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzInput in(data, size);
  Run run(in);
  while (!in.empty()) run.step();
  return 0;
}
