// SPDX-License-Identifier: Apache-2.0
// What a super-packet of a kernel stands for on the wire, told field by field: an account that owes
// nothing to core/ip/segment.cc. Checksums are left out, the receiving kernel judges them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "host/tun_device.h"

namespace masque::netns {

class SuperPacket {
 public:
  explicit SuperPacket(const TunPacket& packet) : whole_(packet.bytes), offload_(packet.offload) {
    v4_ = whole_[0] >> 4 == 4;
    transport_ = v4_ ? (whole_[0] & 15u) * 4u : 40u;
    tcp_ = offload_.gso != GsoType::Udp;
    head_ = transport_ + (tcp_ ? (whole_[transport_ + 12] >> 4) * 4u : 8u);
  }

  // On the wire.
  size_t packets() const {
    if (offload_.gso == GsoType::None) return 1;
    return (whole_.size() - head_ + offload_.gso_size - 1) / offload_.gso_size;
  }
  void expect_cut_into(std::span<const std::vector<uint8_t>> pieces) const {
    if (offload_.gso == GsoType::None) return;
    size_t offset = 0;
    for (size_t i = 0; i < pieces.size(); ++i) {
      const Bytes piece = pieces[i];
      const size_t size = std::min<size_t>(offload_.gso_size, whole_.size() - head_ - offset);
      ASSERT_EQ(piece.size(), head_ + size);
      EXPECT_TRUE(std::ranges::equal(piece.subspan(head_), whole_.subspan(head_ + offset, size)));
      ASSERT_EQ(to_hex(without_checksums(piece.first(head_))),
                to_hex(without_checksums(header(i, offset, size))))
          << i << " of " << pieces.size();
      offset += size;
    }
    EXPECT_EQ(head_ + offset, whole_.size());
  }

 private:
  std::vector<uint8_t> header(size_t index, size_t offset, size_t size) const {
    std::vector<uint8_t> out(whole_.begin(), whole_.begin() + static_cast<ptrdiff_t>(head_));
    if (v4_) {
      store_be16(&out[2], static_cast<uint16_t>(head_ + size));
      store_be16(&out[4], static_cast<uint16_t>(load_be16(&whole_[4]) + index));
    } else {
      store_be16(&out[4], static_cast<uint16_t>(head_ + size - 40));
    }
    if (!tcp_) {
      store_be16(&out[transport_ + 4], static_cast<uint16_t>(8 + size));
      return out;
    }
    constexpr uint8_t kFin = 0x01, kPsh = 0x08, kCwr = 0x80;
    uint8_t& flags = out[transport_ + 13];
    store_be32(&out[transport_ + 4],
               load_be32(&whole_[transport_ + 4]) + static_cast<uint32_t>(offset));
    if (head_ + offset + size < whole_.size()) flags &= static_cast<uint8_t>(~(kFin | kPsh));
    if (index > 0) flags &= static_cast<uint8_t>(~kCwr);
    return out;
  }
  std::vector<uint8_t> without_checksums(Bytes header) const {
    std::vector<uint8_t> out(header.begin(), header.end());
    if (v4_) store_be16(&out[10], 0);
    store_be16(&out[transport_ + (tcp_ ? 16 : 6)], 0);
    return out;
  }

  Bytes whole_;
  OffloadInfo offload_;
  bool v4_ = false, tcp_ = false;
  size_t transport_ = 0, head_ = 0;
};

}  // namespace masque::netns
