// SPDX-License-Identifier: Apache-2.0
#include "host/vnet_header.h"

#include <cstring>
#include <utility>

namespace masque {
namespace {

constexpr uint8_t kNeedsChecksum = 1;
constexpr uint8_t kGsoNone = 0;
constexpr uint8_t kGsoTcpV4 = 1;
constexpr uint8_t kGsoTcpV6 = 4;
constexpr uint8_t kGsoUdpL4 = 5;
constexpr uint8_t kGsoEcn = 0x80;  // the first segment carries CWR; the TCP flags say so as well

struct Fields {
  uint8_t flags;
  uint8_t gso_type;
  uint16_t header_length;
  uint16_t gso_size;
  uint16_t checksum_start;
  uint16_t checksum_offset;
};
static_assert(sizeof(Fields) == kVnetHeaderBytes);

uint8_t to_kernel(GsoType type) {
  switch (type) {
    case GsoType::None:
      return kGsoNone;
    case GsoType::TcpV4:
      return kGsoTcpV4;
    case GsoType::TcpV6:
      return kGsoTcpV6;
    case GsoType::Udp:
      return kGsoUdpL4;
  }
  std::unreachable();
}

}  // namespace

std::optional<OffloadInfo> read_vnet_header(const uint8_t* from) {
  Fields fields;
  std::memcpy(&fields, from, sizeof fields);
  OffloadInfo info{
      .checksum = fields.flags & kNeedsChecksum ? ChecksumState::Partial : ChecksumState::Complete,
      .header_length = fields.header_length,
      .gso_size = fields.gso_size,
      .checksum_start = fields.checksum_start,
      .checksum_offset = fields.checksum_offset,
  };
  switch (fields.gso_type & ~kGsoEcn) {
    case kGsoNone:
      info.gso = GsoType::None;
      break;
    case kGsoTcpV4:
      info.gso = GsoType::TcpV4;
      break;
    case kGsoTcpV6:
      info.gso = GsoType::TcpV6;
      break;
    case kGsoUdpL4:
      info.gso = GsoType::Udp;
      break;
    default:
      return std::nullopt;
  }
  return info;
}

void write_vnet_header(const OffloadInfo& info, uint8_t* to) {
  const Fields fields{
      .flags = info.checksum == ChecksumState::Partial ? kNeedsChecksum : uint8_t{0},
      .gso_type = to_kernel(info.gso),
      .header_length = info.header_length,
      .gso_size = info.gso_size,
      .checksum_start = info.checksum_start,
      .checksum_offset = info.checksum_offset,
  };
  std::memcpy(to, &fields, sizeof fields);
}

}  // namespace masque
