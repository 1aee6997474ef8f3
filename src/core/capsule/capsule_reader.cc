// SPDX-License-Identifier: Apache-2.0
#include "core/capsule/capsule_reader.h"

#include <algorithm>

#include "base/mutant.h"

namespace masque {

namespace {

// A capsule in pieces longer than this gives its memory back when it is done.
constexpr size_t kBufferKept = 2048;

// The longest value of the type; 0 for types that we do not know.
size_t value_size_max(CapsuleType type) {
  if (type == capsule_type::kDatagram) return kDatagramCapsuleMax;
  if (type == capsule_type::kAddressAssign || type == capsule_type::kAddressRequest)
    return kAddressCapsuleMax;
  if (type == capsule_type::kRouteAdvertisement) return kRouteCapsuleMax;
  return 0;
}

}  // namespace

Result<void> CapsuleReader::on_bytes(Bytes data) {
  if (state_ == State::Failed) return std::unexpected(error_);
  while (!data.empty()) {
    const Result<void> result = consume(data);
    if (!result) {
      state_ = State::Failed;
      error_ = result.error();
      value_ = {};
      return result;
    }
  }
  return {};
}

Result<void> CapsuleReader::on_fin() {
  if (state_ == State::Failed) return std::unexpected(error_);
  if (state_ == State::Type && varint_size_ == 0) return {};
  if (mutant("capsule.fin.remove")) return {};
  // RFC 9297 3.3: a stream that ends inside a capsule is an incomplete message.
  state_ = State::Failed;
  error_ = WireError::Truncated;
  value_ = {};
  return std::unexpected(error_);
}

// One step: takes some bytes off the front of `data`.
Result<void> CapsuleReader::consume(Bytes& data) {
  switch (state_) {
    case State::Type:
      if (const std::optional<uint64_t> type = read_varint(data)) {
        type_ = CapsuleType(*type);
        state_ = State::Length;
      }
      return {};
    case State::Length:
      if (const std::optional<uint64_t> length = read_varint(data)) {
        remaining_ = *length;
        return on_header();
      }
      return {};
    case State::Value:
      return read_value(data);
    case State::Skip: {
      const auto skipped = static_cast<size_t>(std::min<uint64_t>(remaining_, data.size()));
      data = data.subspan(skipped);
      remaining_ -= skipped;
      if (remaining_ == 0) state_ = State::Type;
      return {};
    }
    case State::Failed:
      break;
  }
  return std::unexpected(error_);
}

// nullopt when more bytes are needed; those that are there are kept.
std::optional<uint64_t> CapsuleReader::read_varint(Bytes& data) {
  while (!data.empty()) {
    varint_[varint_size_++] = data[0];
    data = data.subspan(1);
    if (varint_size_ < size_t{1} << (varint_[0] >> 6)) continue;
    ByteReader in(Bytes(varint_).first(varint_size_));
    varint_size_ = 0;
    return in.varint().value();  // complete by construction
  }
  return std::nullopt;
}

Result<void> CapsuleReader::on_header() {
  const size_t size_max = value_size_max(type_);
  const bool known = size_max != 0;
  if (known && remaining_ <= size_max + (mutant("capsule.size.limit") ? 1 : 0)) {
    state_ = State::Value;
    return remaining_ == 0 ? deliver({}) : Result<void>{};
  }
  if (known && type_ != capsule_type::kDatagram && !mutant("capsule.size.remove"))
    return std::unexpected(WireError::TooLong);
  if (known) {
    ++counters_
          .oversize_datagrams;  // RFC 9297 3.5: too large to be of use, dropped without buffering
  } else {
    ++counters_.unknown;
    visitor_.on_unknown_capsule(type_,
                                remaining_);  // RFC 9297 3.2: dropped, the next one is parsed
  }
  state_ = remaining_ == 0 ? State::Type : State::Skip;
  return {};
}

Result<void> CapsuleReader::read_value(Bytes& data) {
  const auto missing = static_cast<size_t>(remaining_);
  if (value_.empty() && data.size() >= missing) {  // in one piece: no copy
    const Bytes value = data.first(missing);
    data = data.subspan(missing);
    return deliver(value);
  }
  const Bytes piece = data.first(std::min(missing, data.size()));
  data = data.subspan(piece.size());
  const size_t needed = value_.size() + piece.size();
  if (value_.capacity() < needed) {
    // Grows with what arrived, not with what was announced, and never beyond the capsule.
    value_.reserve(std::min(std::max(2 * value_.capacity(), needed), value_.size() + missing));
  }
  value_.insert(value_.end(), piece.begin(), piece.end());
  remaining_ -= piece.size();
  if (remaining_ > 0) return {};
  const Result<void> result = deliver(value_);
  value_.clear();
  if (value_.capacity() > kBufferKept) value_.shrink_to_fit();
  return result;
}

Result<void> CapsuleReader::deliver(Bytes value) {
  state_ = State::Type;
  remaining_ = 0;
  ++counters_.capsules;
  if (type_ == capsule_type::kDatagram) {
    visitor_.on_datagram_capsule(value);
    return {};
  }
  if (type_ == capsule_type::kAddressAssign) {
    TRY(const AddressAssign capsule, parse_address_assign(value));
    return visitor_.on_address_assign(capsule);
  }
  if (type_ == capsule_type::kAddressRequest) {
    TRY(const AddressRequest capsule, parse_address_request(value));
    return visitor_.on_address_request(capsule);
  }
  TRY(const RouteAdvertisement capsule, parse_route_advertisement(value));
  return visitor_.on_route_advertisement(capsule);
}

}  // namespace masque
