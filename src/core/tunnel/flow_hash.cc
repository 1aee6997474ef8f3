// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/flow_hash.h"

#include <bit>
#include <cstring>

namespace masque {
namespace {

struct SipState {
  uint64_t v0, v1, v2, v3;

  void round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
  void add(uint64_t word) {
    v3 ^= word;
    round();
    v0 ^= word;
  }
  uint64_t finish() {
    v2 ^= 0xff;
    for (int i = 0; i < 3; ++i) round();
    return v0 ^ v1 ^ v2 ^ v3;
  }
};

void add_address(SipState& state, const IpAddress& address) {
  if (address.version() == IpVersion::V4) return state.add(address.v4_value());
  uint64_t words[2];
  std::memcpy(words, address.bytes().data(), sizeof words);
  state.add(words[0]);
  state.add(words[1]);
}

bool holds(const IpPacketView& view, Bytes head, size_t bytes) {
  return view.fragment == Fragment::Whole && head.size() >= view.transport_offset + bytes;
}

// What tells flows of one protocol between two hosts apart.
uint32_t discriminator(const IpPacketView& view, Bytes head) {
  switch (view.protocol) {
    case ip_protocol::kTcp:
    case ip_protocol::kUdp:
    case ip_protocol::kEsp:
      return holds(view, head, 4) ? load_be32(&head[view.transport_offset]) : 0;
    default:
      return 0;
  }
}

}  // namespace

uint64_t FlowHash::operator()(const IpPacketView& view, Bytes head) const {
  const uint64_t other = std::rotl(seed_, 32) * 0x9e3779b97f4a7c15;
  SipState state{seed_ ^ 0x736f6d6570736575, other ^ 0x646f72616e646f6d, seed_ ^ 0x6c7967656e657261,
                 other ^ 0x7465646279746573};
  add_address(state, view.source);
  add_address(state, view.destination);
  state.add(uint64_t{view.protocol} << 32 | discriminator(view, head));
  return state.finish();
}

FlowHash::Ports ports_of(const IpPacketView& view, Bytes head) {
  if (view.protocol != ip_protocol::kUdp && view.protocol != ip_protocol::kTcp) return {};
  if (!holds(view, head, 4)) return {};
  const uint8_t* transport = &head[view.transport_offset];
  return {.source = load_be16(transport), .destination = load_be16(transport + 2)};
}

}  // namespace masque
