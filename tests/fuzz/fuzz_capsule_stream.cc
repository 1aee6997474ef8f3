// SPDX-License-Identifier: Apache-2.0
// The data stream of a peer: fragmentation changes nothing, memory is bounded, and a capsule that
// is accepted encodes to bytes that parse to the same.
#include <format>
#include <string>

#include "core/capsule/capsule_reader.h"
#include "core/capsule/http_datagram.h"
#include "core/capsule/request_ids.h"
#include "tests/fuzz/fuzz_input.h"

using namespace masque;

namespace {

template <class Capsule, class Parse>
void check_round_trip(const Capsule& capsule, Parse parse) {
  ByteBuffer out;
  encode(capsule, out);
  ByteReader in(out.view());
  MASQUE_ASSERT(in.varint().has_value());
  const auto length = in.varint();
  MASQUE_ASSERT(length && *length == in.size());
  const auto again = parse(in.rest());
  MASQUE_ASSERT(again && *again == capsule);
}

class Log final : public CapsuleVisitor {
 public:
  Result<void> on_address_assign(const AddressAssign& capsule) override {
    check_round_trip(capsule, parse_address_assign);
    text += std::format("a{} ", capsule.addresses.size());
    return {};
  }
  Result<void> on_address_request(const AddressRequest& capsule) override {
    check_round_trip(capsule, parse_address_request);
    text += std::format("q{} ", capsule.addresses.size());
    return history.on_request(capsule);
  }
  Result<void> on_route_advertisement(const RouteAdvertisement& capsule) override {
    check_round_trip(capsule, parse_route_advertisement);
    MASQUE_ASSERT(check_routes(in_route_order(capsule.ranges)).has_value());
    text += std::format("r{} ", capsule.ranges.size());
    return {};
  }
  void on_datagram_capsule(Bytes payload) override {
    text += std::format("d{} ", payload.size());
    if (const auto datagram = parse_http_datagram(payload))
      MASQUE_ASSERT(datagram->payload.size() < payload.size());
  }
  void on_unknown_capsule(CapsuleType type, uint64_t length) override {
    text += std::format("u{},{} ", type.value(), length);
  }

  std::string text;
  RequestIdHistory history;
};

std::string run(Bytes stream, Bytes pieces) {
  Log log;
  CapsuleReader reader(log);
  Result<void> result;
  for (size_t i = 0; !stream.empty() && result; ++i) {
    const size_t wanted =
        pieces.empty() ? stream.size() : pieces[i % pieces.size()] % 32 + size_t{1};
    const size_t n = std::min(wanted, stream.size());
    result = reader.on_bytes(stream.first(n));
    MASQUE_ASSERT(reader.buffered() < kRouteCapsuleMax);
    stream = stream.subspan(n);
  }
  if (result) result = reader.on_fin();
  return log.text + (result ? "ok" : std::string(to_string(result.error())));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzInput in(data, size);
  const Bytes pieces = in.take(in.u8() % 8);
  const Bytes stream = in.rest();
  const std::string whole = run(stream, {});
  MASQUE_ASSERT(run(stream, pieces) == whole);
  return 0;
}
