// SPDX-License-Identifier: Apache-2.0
#include "core/ip/fragment.h"

#include <algorithm>
#include <cstring>

#include "base/mutant.h"
#include "core/ip/checksum.h"

namespace masque {
namespace {

constexpr uint16_t kMoreFragments = 0x2000;
constexpr uint16_t kOffsetMask = 0x1fff;
constexpr size_t kOffsetUnit = 8;

size_t offset_of(Bytes header) { return (load_be16(&header[6]) & kOffsetMask) * kOffsetUnit; }

// RFC 791 3.1: the options whose first bit says so are in every fragment, the others in the first
// alone. Returns the bytes written, a multiple of four.
size_t copy_options_of_every_fragment(Bytes options, uint8_t* out) {
  constexpr uint8_t kEnd = 0, kNoOperation = 1, kCopied = 0x80;
  size_t written = 0;
  for (size_t at = 0; at < options.size() && options[at] != kEnd;) {
    if (options[at] == kNoOperation) {
      ++at;
      continue;
    }
    const size_t size = at + 1 < options.size() ? options[at + 1] : 0;
    if (size < 2 || at + size > options.size()) break;  // not to be read on
    if ((options[at] & kCopied) != 0) {
      std::memcpy(out + written, &options[at], size);
      written += size;
    }
    at += size;
  }
  while (written % 4 != 0) out[written++] = kEnd;
  return written;
}

}  // namespace

bool Ipv4Fragmenter::can_cut(const PacketSlices& packet, const IpPacketView& view, size_t mtu) {
  if (view.version != IpVersion::V4 || packet.size() <= mtu || mtu < kMtuMin) return false;
  if (view.dont_fragment && !mutant("fragment.df.remove")) return false;
  // Beyond the end of the longest packet no offset leads.
  return offset_of(packet.head) + packet.size() <= kPacketSizeMax + view.header_length;
}

Ipv4Fragmenter::Ipv4Fragmenter(const PacketSlices& packet, const IpPacketView& view, size_t mtu)
    : first_header_(packet.head.first(view.header_length)),
      payload_{packet.head.subspan(view.header_length), packet.body},
      payload_size_(packet.size() - view.header_length),
      mtu_(mtu) {
  std::memcpy(later_header_.data(), first_header_.data(), kIpv4HeaderSize);
  later_header_size_ =
      kIpv4HeaderSize + copy_options_of_every_fragment(first_header_.subspan(kIpv4HeaderSize),
                                                       later_header_.data() + kIpv4HeaderSize);
  later_header_[0] = static_cast<uint8_t>(0x40 | later_header_size_ / 4);
}

size_t Ipv4Fragmenter::next(MutableBytes out) {
  if (done_ == payload_size_) return 0;
  const Bytes header = done_ == 0 ? first_header_ : Bytes(later_header_).first(later_header_size_);
  const size_t room = mtu_ - header.size();
  const size_t left = payload_size_ - done_;
  const bool last = left <= room;
  const size_t count = last ? left : room / kOffsetUnit * kOffsetUnit;
  const size_t size = header.size() + count;
  MASQUE_ASSERT(size <= out.size());

  std::memcpy(out.data(), header.data(), header.size());
  copy_payload(done_, out.subspan(header.size(), count));
  store_be16(&out[2], static_cast<uint16_t>(size));
  // The offset grows, and only the end of what was the end has no more behind it.
  const auto field = static_cast<uint16_t>(load_be16(&first_header_[6]) + done_ / kOffsetUnit);
  store_be16(&out[6], last ? field : static_cast<uint16_t>(field | kMoreFragments));
  store_be16(&out[10], 0);
  store_be16(&out[10], internet_checksum(Bytes(out).first(header.size())));
  done_ += count;
  return size;
}

void Ipv4Fragmenter::copy_payload(size_t from, MutableBytes out) const {
  for (const Bytes piece : payload_) {
    if (from >= piece.size()) {
      from -= piece.size();
      continue;
    }
    const size_t count = std::min(piece.size() - from, out.size());
    std::memcpy(out.data(), piece.data() + from, count);
    out = out.subspan(count);
    from = 0;
    if (out.empty()) return;
  }
}

}  // namespace masque
