// SPDX-License-Identifier: Apache-2.0
// The ten bytes before each packet of a TUN with IFF_VNET_HDR: struct virtio_net_hdr of
// <linux/virtio_net.h> (which does not compile as C++), in native byte order, and its translation
// to and from core/ip/offload.h. Used by tun_device.cc; here for its tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "core/ip/offload.h"

namespace masque {

constexpr size_t kVnetHeaderBytes = 10;

// nullopt: a kind of segmentation that we never asked for.
std::optional<OffloadInfo> read_vnet_header(const uint8_t* from);
void write_vnet_header(const OffloadInfo& info, uint8_t* to);

}  // namespace masque
