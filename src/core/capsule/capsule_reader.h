// SPDX-License-Identifier: Apache-2.0
// Cuts the data stream of a request into capsules (RFC 9297 3.2), however it is fragmented.
// Unknown capsules and GREASE are skipped in constant memory; known ones are buffered up to the
// limits below only when they do not arrive in one piece. Non-minimal varints are accepted.
//
// After an error the stream is dead: abort it (http/error.h has the code). Later input is ignored
// and answered with the same error.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "core/capsule/capsule.h"

namespace masque {

// Longest value of the capsules we know; a longer one is TooLong.
constexpr size_t kAddressCapsuleMax = kAssignedAddressesMax * (8 + 1 + 16 + 1);
constexpr size_t kRouteCapsuleMax = kAddressRangesMax * (1 + 2 * 16 + 1);
// A DATAGRAM capsule beyond this is skipped without buffering (RFC 9297 3.5 allows dropping).
constexpr size_t kDatagramCapsuleMax = 64 * 1024;

// Gets the events of CapsuleReader, in stream order. An error it returns ends the stream. It does
// not destroy the reader nor feed it.
class CapsuleVisitor {
 public:
  virtual ~CapsuleVisitor() = default;
  virtual Result<void> on_address_assign(const AddressAssign& capsule) = 0;
  virtual Result<void> on_address_request(const AddressRequest& capsule) = 0;
  virtual Result<void> on_route_advertisement(const RouteAdvertisement& capsule) = 0;
  // The payload of a DATAGRAM capsule: an HTTP Datagram (http_datagram.h), valid during the call.
  virtual void on_datagram_capsule(Bytes http_datagram) = 0;
  // The header of a capsule whose type is not known; its value is being skipped.
  virtual void on_unknown_capsule(CapsuleType /*type*/, uint64_t /*length*/) {}
};

class CapsuleReader {
 public:
  explicit CapsuleReader(CapsuleVisitor& visitor) : visitor_(visitor) {}

  // Bytes of the data stream, in order, in pieces of any size.
  Result<void> on_bytes(Bytes data);
  // The peer's clean end: inside a capsule it is Truncated (RFC 9297 3.3).
  Result<void> on_fin();

  struct Counters {
    uint64_t capsules = 0;            // complete ones that we know
    uint64_t unknown = 0;             // skipped
    uint64_t oversize_datagrams = 0;  // skipped
  };
  const Counters& counters() const { return counters_; }
  size_t buffered() const { return value_.size(); }  // never above kRouteCapsuleMax

 private:
  enum class State : uint8_t { Type, Length, Value, Skip, Failed };

  Result<void> consume(Bytes& data);
  std::optional<uint64_t> read_varint(Bytes& data);
  Result<void> on_header();
  Result<void> read_value(Bytes& data);
  Result<void> deliver(Bytes value);

  CapsuleVisitor& visitor_;
  Counters counters_;
  State state_ = State::Type;
  WireError error_ = WireError::Truncated;  // valid in Failed
  std::array<uint8_t, 8> varint_{};         // a varint that arrives in pieces
  uint8_t varint_size_ = 0;
  CapsuleType type_{0};
  uint64_t remaining_ = 0;      // of the value
  std::vector<uint8_t> value_;  // a known capsule that arrives in pieces
};

}  // namespace masque
