// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/mtu_probe.h"

#include <algorithm>
#include <array>

namespace masque {
namespace {

constexpr uint16_t kIdentifier = 0x9484;

// A pattern of our own, so that pings of the host with the same identifier are not taken for ours.
constexpr std::array<uint8_t, kMtuProbeDataSize> make_pattern() {
  std::array<uint8_t, kMtuProbeDataSize> out{};
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<uint8_t>(i * 7 + 0x4d);
  return out;
}
constexpr auto kPattern = make_pattern();

}  // namespace

void MtuProbe::start(Instant now, const IpAddress& source, const IpAddress& destination) {
  state_ = State::Probing;
  source_ = source;
  destination_ = destination;
  tries_ = 0;
  next_ = now;
}

std::optional<Instant> MtuProbe::next_timeout() const {
  if (state_ != State::Probing) return std::nullopt;
  return next_;
}

MtuProbe::Due MtuProbe::on_timeout(Instant now) {
  if (state_ != State::Probing || now < next_) return Due::Nothing;
  if (tries_ == kTriesMax) {
    state_ = State::Unanswered;
    return Due::GaveUp;
  }
  ++tries_;
  next_ = now + kInterval;
  return Due::Send;
}

size_t MtuProbe::write(MutableBytes out) {
  return build_icmp_echo({.kind = IcmpEcho::Kind::Request,
                          .source = source_,
                          .destination = destination_,
                          .identifier = kIdentifier,
                          .sequence = tries_,
                          .data = kPattern},
                         out);
}

bool MtuProbe::on_packet(const IpPacketView& view, Bytes packet) {
  if (state_ == State::Idle || view.protocol != ip_protocol::kIcmpV6) return false;
  if (packet.size() != kPacketSize || view.destination != source_) return false;
  const auto echo = parse_icmp_echo(view, packet);
  if (!echo || echo->kind != IcmpEcho::Kind::Reply || echo->identifier != kIdentifier) return false;
  if (!std::ranges::equal(echo->data, kPattern)) return false;
  if (state_ == State::Probing || state_ == State::Unanswered) state_ = State::Confirmed;
  return true;
}

}  // namespace masque
