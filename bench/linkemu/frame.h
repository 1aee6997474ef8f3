// SPDX-License-Identifier: Apache-2.0
// What the bridge has to know of an Ethernet frame: where its IP packet is, and whether it belongs
// to the link itself (ARP, neighbour discovery, link-local multicast). Such frames pass around the
// emulation: no real path loses or delays them as it does IP packets, and a lost ARP request would
// stop everything for a second.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "core/ip/offload.h"

namespace masque::linkemu {

constexpr size_t kEthernetHeader = 14;

enum class FrameKind : uint8_t { Ip, Control };

FrameKind frame_kind(Bytes frame);

// Adds the payload's sum to a checksum that the sender had left to its device; false when the
// places named in `info` (counted from the frame's start) are not within the frame.
bool complete_checksum(MutableBytes frame, const OffloadInfo& info);

}  // namespace masque::linkemu
