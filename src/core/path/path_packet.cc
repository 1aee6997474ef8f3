// SPDX-License-Identifier: Apache-2.0
#include "core/path/path_packet.h"

#include <algorithm>

#include "base/mutant.h"

namespace masque {

namespace {

// CRC-8 with the polynomial x^8+x^2+x+1: finds every damage of up to 8 bits in a row.
uint8_t check_of(uint64_t bits) {
  uint8_t crc = 0xff;
  for (int shift = 48; shift >= 0; shift -= 8) {
    crc = static_cast<uint8_t>(crc ^ (bits >> shift));
    for (int i = 0; i < 8; ++i) {
      crc = static_cast<uint8_t>((crc & 0x80) != 0 ? (crc << 1) ^ 0x07 : crc << 1);
    }
  }
  return crc;
}

constexpr uint64_t low_bits(uint64_t value, unsigned bits) {
  return value & ((uint64_t{1} << bits) - 1);
}

}  // namespace

PathId path_id_of(PathProtection& protection, Bytes connection_id) {
  std::array<uint8_t, PathProtection::kSampleSize> sample{};
  std::ranges::copy(connection_id.first(kPathIdLength), sample.begin());
  std::array<uint8_t, PathProtection::kMaskSize> mask;
  protection.mask(sample, mask);
  PathId out;
  std::ranges::copy_n(mask.begin(), kPathIdLength, out.begin());
  return out;
}

uint64_t unwrap(uint64_t expected, uint64_t truncated, unsigned bits) {
  const uint64_t modulus = uint64_t{1} << bits;
  const uint64_t half = modulus / 2;
  uint64_t value = (expected & ~(modulus - 1)) | low_bits(truncated, bits);
  if (value + half <= expected) {
    value += modulus;
  } else if (value > expected + half && value >= modulus) {
    value -= modulus;
  }
  return value;
}

void write_path_header(const PathHeader& header, std::span<uint8_t, kPathHeaderSize> out) {
  uint64_t bits = static_cast<uint64_t>(header.kind);
  bits = bits << 1 | (header.coded ? 1 : 0);
  bits = bits << PathHeader::kSequenceBits | low_bits(header.sequence, PathHeader::kSequenceBits);
  bits = bits << PathHeader::kSymbolBits | low_bits(header.symbol, PathHeader::kSymbolBits);
  bits = bits << PathHeader::kStampBits | low_bits(header.stamp, PathHeader::kStampBits);
  store_be32(out.data(), static_cast<uint32_t>(bits >> 24));
  store_be32(out.data() + 4, static_cast<uint32_t>(bits << 8) | check_of(bits));
}

std::optional<PathHeader> read_path_header(std::span<const uint8_t, kPathHeaderSize> in) {
  const uint64_t whole = uint64_t{load_be32(in.data())} << 32 | load_be32(in.data() + 4);
  uint64_t bits = whole >> 8;
  if (check_of(bits) != static_cast<uint8_t>(whole) && !mutant("path.header.check.remove"))
    return std::nullopt;
  PathHeader header;
  header.stamp = static_cast<uint32_t>(low_bits(bits, PathHeader::kStampBits));
  bits >>= PathHeader::kStampBits;
  header.symbol = static_cast<uint32_t>(low_bits(bits, PathHeader::kSymbolBits));
  bits >>= PathHeader::kSymbolBits;
  header.sequence = static_cast<uint32_t>(low_bits(bits, PathHeader::kSequenceBits));
  bits >>= PathHeader::kSequenceBits;
  header.coded = (bits & 1) != 0;
  header.kind = static_cast<PathPacketKind>(bits >> 1);
  return header;
}

void write_repair_parameters(const RepairParameters& parameters,
                             std::span<uint8_t, kRepairParametersSize> out) {
  out[0] = static_cast<uint8_t>(static_cast<unsigned>(parameters.code) << 6 |
                                static_cast<unsigned>(parameters.traffic_class) << 5);
  out[1] = parameters.count;
  store_be16(out.data() + 2, parameters.key);
}

std::optional<RepairParameters> read_repair_parameters(
    std::span<const uint8_t, kRepairParametersSize> in) {
  const auto code = static_cast<uint8_t>(in[0] >> 6);
  if (code == 0 || (in[0] & 0x1f) != 0) return std::nullopt;
  return RepairParameters{.code = static_cast<ErasureCode>(code),
                          .traffic_class = static_cast<TrafficClass>(in[0] >> 5 & 1),
                          .count = in[1],
                          .key = load_be16(in.data() + 2)};
}

void apply_path_mask(PathProtection& protection, MutableBytes packet, MaskExtent extent) {
  std::array<uint8_t, PathProtection::kMaskSize> mask;
  protection.mask(packet.last<PathProtection::kSampleSize>(), mask);
  const size_t begin = extent == MaskExtent::Parameters ? kPathHeaderSize : 0;
  const size_t end =
      extent == MaskExtent::Header ? kPathHeaderSize : kPathHeaderSize + kRepairParametersSize;
  uint8_t* header = packet.data() + kPathPrefixSize;
  for (size_t i = begin; i < end; ++i) header[i] = static_cast<uint8_t>(header[i] ^ mask[i]);
}

}  // namespace masque
