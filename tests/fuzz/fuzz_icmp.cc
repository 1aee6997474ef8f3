// SPDX-License-Identifier: Apache-2.0
// ICMP errors about anything that arrives, echo, and the packet that an error quotes.
#include <vector>

#include "core/ip/icmp.h"
#include "core/ip/packet_builder.h"
#include "tests/fuzz/fuzz_input.h"

using namespace masque;

namespace {

void check_error(const IcmpError& error, const IpPacketView& view, Bytes packet, size_t cut) {
  const bool v4 = view.version == IpVersion::V4;
  const IpAddress router = v4 ? IpAddress::v4(0xc0000201) : IpAddress::parse("2001:db8::1").value();
  const size_t head = std::min<size_t>(packet.size(), view.transport_offset + cut);
  std::vector<uint8_t> out(kIcmpErrorSizeMax);
  const auto size = build_icmp_error(
      error, router, view, {.head = packet.first(head), .body = packet.subspan(head)}, out);
  if (!size) return;
  const Bytes reply = Bytes(out).first(*size);
  const auto parsed = parse_ip_packet(reply);
  MASQUE_ASSERT(parsed && parsed->destination == view.source && parsed->source == router);
  MASQUE_ASSERT(*size <= kIcmpErrorSizeMax);
  // RFC 4443 2.4 (e): an error is never answered with an error.
  MASQUE_ASSERT(!may_answer_with_icmp_error(error.kind, *parsed, reply));
  const auto quote = parse_icmp_error_quote(*parsed, reply);
  MASQUE_ASSERT(quote && quote->source == view.source && quote->destination == view.destination);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzInput in(data, size);
  const IcmpError error{
      .kind = static_cast<IcmpErrorKind>(in.u8() % 5), .mtu = in.u32(), .ipv4_quote_max = in.u16()};
  const size_t cut = in.u8();
  const Bytes rest = in.rest();
  if (rest.size() > kPacketSizeMax) return 0;
  std::vector<uint8_t> packet(rest.begin(), rest.end());
  if (packet.size() >= kIpv4HeaderSize && packet[0] >> 4 == 4 &&
      (packet[0] & 0x0fu) * 4 <= packet.size()) {
    store_be16(packet.data() + 2, static_cast<uint16_t>(packet.size()));
    refresh_ipv4_checksum(packet);
  } else if (packet.size() >= kIpv6HeaderSize && packet[0] >> 4 == 6) {
    store_be16(packet.data() + 4, static_cast<uint16_t>(packet.size() - kIpv6HeaderSize));
  }
  const auto view = parse_ip_packet(packet);
  if (!view) return 0;
  check_error(error, *view, packet, cut);
  parse_icmp_error_quote(*view, packet);
  if (const auto echo = parse_icmp_echo(*view, packet)) {
    std::vector<uint8_t> out(kPacketSizeMax);
    const size_t built = build_icmp_echo(*echo, out);
    const auto again =
        parse_icmp_echo(parse_ip_packet(Bytes(out).first(built)).value(), Bytes(out).first(built));
    MASQUE_ASSERT(again && again->sequence == echo->sequence &&
                  again->data.size() == echo->data.size());
  }
  return 0;
}
