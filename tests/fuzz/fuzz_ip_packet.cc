// SPDX-License-Identifier: Apache-2.0
// The packet validator and extension header walker: never past the bytes, and what it accepts is
// true.
#include <algorithm>
#include <memory>
#include <vector>

#include "core/ip/checksum.h"
#include "core/ip/packet.h"
#include "core/ip/packet_builder.h"
#include "tests/fuzz/fuzz_input.h"

using namespace masque;

namespace {

void check(Bytes packet) {
  const auto view = parse_ip_packet(packet);
  if (!view) return;
  MASQUE_ASSERT(view->length == packet.size());
  MASQUE_ASSERT(view->header_length <= view->transport_offset &&
                view->transport_offset <= packet.size());
  const size_t source_at = view->version == IpVersion::V4 ? 12 : 8;
  MASQUE_ASSERT(std::ranges::equal(view->source.bytes(),
                                   packet.subspan(source_at, address_bytes(view->version))));
  // A protocol number of a whole packet is never that of an extension header.
  if (view->version == IpVersion::V6 && view->fragment != Fragment::Later) {
    MASQUE_ASSERT(!ip_protocol::is_extension(view->protocol));
  }
  // Headers alone say the same, and without the last header byte nothing is guessed.
  const size_t headers = view->transport_offset;
  const auto from_head = parse_ip_packet(packet.first(headers), packet.size());
  MASQUE_ASSERT(from_head && from_head->protocol == view->protocol &&
                from_head->transport_offset == headers);
  MASQUE_ASSERT(!parse_ip_packet(packet.first(headers - 1), packet.size()));

  std::vector<uint8_t> copy(packet.begin(), packet.end());
  const TtlResult result = decrement_ttl(copy);
  MASQUE_ASSERT((result == TtlResult::Expired) == (view->ttl <= 1));
  const auto after = parse_ip_packet(copy);
  MASQUE_ASSERT(after && after->ttl == view->ttl - (result == TtlResult::Decremented ? 1 : 0));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > kPacketSizeMax) return 0;
  // An exact heap copy, so that the sanitizer sees one byte too far.
  const auto bytes = std::make_unique<uint8_t[]>(size);
  std::copy_n(data, size, bytes.get());
  check(Bytes(bytes.get(), size));

  // Again with right length and checksum, so that the fuzzer gets past them.
  std::vector<uint8_t> repaired(data, data + size);
  if (size >= kIpv4HeaderSize && repaired[0] >> 4 == 4) {
    if ((repaired[0] & 0x0fu) * 4 > size) return 0;
    store_be16(repaired.data() + 2, static_cast<uint16_t>(size));
    refresh_ipv4_checksum(repaired);
  } else if (size >= kIpv6HeaderSize && repaired[0] >> 4 == 6) {
    store_be16(repaired.data() + 4, static_cast<uint16_t>(size - kIpv6HeaderSize));
  }
  check(repaired);
  return 0;
}
