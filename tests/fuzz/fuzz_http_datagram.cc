// SPDX-License-Identifier: Apache-2.0
// The Context ID in front of every datagram: the short way and the long way agree.
#include "core/capsule/http_datagram.h"

using namespace masque;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes payload(data, size);
  const auto fast = parse_http_datagram(payload);
  const auto slow = parse_http_datagram_slow(payload);
  MASQUE_ASSERT(fast.has_value() == slow.has_value());
  if (!fast) return 0;
  MASQUE_ASSERT(fast->context == slow->context && fast->payload.data() == slow->payload.data());
  MASQUE_ASSERT(fast->payload.size() < size && fast->payload.size() == slow->payload.size());
  ByteBuffer out;
  out.varint(fast->context.value());
  out.bytes(fast->payload);
  MASQUE_ASSERT(out.size() <= size && parse_http_datagram(out.view())->context == fast->context);
  return 0;
}
