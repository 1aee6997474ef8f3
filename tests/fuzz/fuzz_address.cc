// SPDX-License-Identifier: Apache-2.0
// Addresses, prefixes and end points from text: what is accepted prints and parses back to itself.
#include "core/ip/address.h"
#include "core/ip/socket_address.h"

using namespace masque;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = as_text(Bytes(data, size));
  if (const auto address = IpAddress::parse(text)) {
    MASQUE_ASSERT(IpAddress::parse(address->to_string()) == *address);
    if (const auto next = address->next())
      MASQUE_ASSERT(next->previous() == *address && *address < *next);
  }
  if (const auto prefix = IpPrefix::parse(text)) {
    MASQUE_ASSERT(IpPrefix::parse(prefix->to_string()) == *prefix);
    MASQUE_ASSERT(prefix->contains(prefix->first()) && prefix->contains(prefix->last()));
    MASQUE_ASSERT(to_prefixes(IpRange::of(*prefix)) == std::vector{*prefix});
    const IpRange rest{.first = prefix->first(),
                       .last = IpPrefix::containing(prefix->first(), 0).last()};
    MASQUE_ASSERT(to_ranges(to_prefixes(rest)) == std::vector{rest});
  }
  if (const auto endpoint = SocketAddress::parse(text)) {
    MASQUE_ASSERT(SocketAddress::parse(endpoint->to_string()) == *endpoint);
  }
  return 0;
}
