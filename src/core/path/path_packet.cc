// SPDX-License-Identifier: Apache-2.0
#include "core/path/path_packet.h"

#include <algorithm>

#include "base/mutant.h"

namespace masque {

namespace {

constexpr uint64_t low_bits(uint64_t value, unsigned bits) {
  return value & ((uint64_t{1} << bits) - 1);
}

uint32_t check_of(PathProtection& protection, const BoundHeader& bound) {
  std::array<uint8_t, PathProtection::kBlockSize> block{};
  static_assert(std::tuple_size_v<BoundHeader> <= PathProtection::kBlockSize);
  std::ranges::copy(bound, block.begin());
  return protection.check(block);
}

// Puts it on or takes it off.
void apply_mask(std::span<const uint8_t> mask, MutableBytes bytes) {
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(bytes[i] ^ mask[i]);
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

BoundHeader bound_header(const PathHeader& header) {
  uint64_t bits = static_cast<uint64_t>(header.kind);
  bits = bits << 1 | (header.coded ? 1 : 0);
  bits = bits << PathHeader::kSequenceBits | low_bits(header.sequence, PathHeader::kSequenceBits);
  bits = bits << PathHeader::kSymbolBits | low_bits(header.symbol, PathHeader::kSymbolBits);
  bits = bits << PathHeader::kStampBits | low_bits(header.stamp, PathHeader::kStampBits);
  BoundHeader out;
  store_be32(out.data(), static_cast<uint32_t>(bits >> 24));
  store_be32(out.data() + 3, static_cast<uint32_t>(bits));
  store_be32(out.data() + kPathFieldsSize, static_cast<uint32_t>(header.sequence >> 32));
  store_be32(out.data() + kPathFieldsSize + 4, static_cast<uint32_t>(header.sequence));
  return out;
}

BoundRepair bound_repair(const PathHeader& header,
                         std::span<const uint8_t, kRepairParametersSize> parameters) {
  BoundRepair out;
  const auto end = std::ranges::copy(bound_header(header), out.begin()).out;
  std::ranges::copy(parameters, end);
  return out;
}

BoundControl bound_control(const PathHeader& header, Bytes packet) {
  BoundControl out;
  const auto end = std::ranges::copy(packet.first(kPathPrefixSize), out.begin()).out;
  std::ranges::copy(bound_header(header), end);
  return out;
}

void write_path_header(PathProtection& protection, const PathHeader& header, MutableBytes packet) {
  const BoundHeader bound = bound_header(header);
  const uint32_t check = check_of(protection, bound);
  const MutableBytes out = packet.subspan(kPathPrefixSize);
  std::ranges::copy(Bytes(bound).first(kPathFieldsSize), out.begin());
  out[kPathFieldsSize] = static_cast<uint8_t>(check >> 16);
  store_be16(&out[kPathFieldsSize + 1], static_cast<uint16_t>(check));
  std::array<uint8_t, PathProtection::kMaskSize> mask;
  protection.mask(packet.last<PathProtection::kSampleSize>(), mask);
  const bool repair = header.kind == PathPacketKind::Repair;
  apply_mask(mask, out.first(kPathHeaderSize + (repair ? kRepairParametersSize : 0)));
}

std::optional<PathHeader> read_path_header(PathProtection& protection, MutableBytes packet,
                                           uint64_t expected_sequence) {
  std::array<uint8_t, PathProtection::kMaskSize> mask;
  protection.mask(packet.last<PathProtection::kSampleSize>(), mask);
  const MutableBytes in = packet.subspan(kPathPrefixSize);
  apply_mask(mask, in.first(kPathHeaderSize));
  uint64_t bits = uint64_t{load_be32(in.data())} << 24 | load_be32(in.data() + 3) % (1u << 24);
  const uint32_t check = load_be32(in.data() + kPathFieldsSize - 1) % (1u << 24);
  PathHeader header;
  header.stamp = static_cast<uint32_t>(low_bits(bits, PathHeader::kStampBits));
  bits >>= PathHeader::kStampBits;
  header.symbol = static_cast<uint32_t>(low_bits(bits, PathHeader::kSymbolBits));
  bits >>= PathHeader::kSymbolBits;
  header.sequence = unwrap(expected_sequence, bits, PathHeader::kSequenceBits);
  bits >>= PathHeader::kSequenceBits;
  header.coded = (bits & 1) != 0;
  header.kind = static_cast<PathPacketKind>(bits >> 1);
  if (check_of(protection, bound_header(header)) != check && !mutant("path.header.check.remove"))
    return std::nullopt;
  if (header.kind == PathPacketKind::Repair) {
    apply_mask(std::span(mask).subspan(kPathHeaderSize),
               in.subspan(kPathHeaderSize, kRepairParametersSize));
  }
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

}  // namespace masque
