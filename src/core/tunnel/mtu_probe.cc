// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/mtu_probe.h"

#include <algorithm>
#include <array>
#include <utility>

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
  small_answered_ = false;
  next_ = now;
}

std::optional<Instant> MtuProbe::next_timeout() const {
  if (state_ != State::Probing) return std::nullopt;
  return next_;
}

MtuProbe::Due MtuProbe::on_timeout(Instant now) {
  if (state_ != State::Probing || now < next_) return Due::Nothing;
  if (tries_ == kTriesMax) {
    state_ = small_answered_ ? State::TooNarrow : State::Unanswered;
    return Due::GaveUp;
  }
  ++tries_;
  next_ = now + kInterval;
  return tries_ == 1 ? Due::SendLarge : Due::SendBoth;
}

size_t MtuProbe::write(size_t packet_size, MutableBytes out) const {
  const size_t data_size = packet_size - kIpv6HeaderSize - kIcmpEchoHeaderSize;
  return build_icmp_echo({.kind = IcmpEcho::Kind::Request,
                          .source = source_,
                          .destination = destination_,
                          .identifier = kIdentifier,
                          .sequence = tries_,
                          .data = Bytes(kPattern).first(data_size)},
                         out);
}

bool MtuProbe::on_packet(const IpPacketView& view, Bytes packet) {
  if (state_ == State::Idle || view.protocol != ip_protocol::kIcmpV6) return false;
  const bool large = packet.size() == kPacketSize;
  if ((!large && packet.size() != kSmallPacketSize) || view.destination != source_) return false;
  const auto echo = parse_icmp_echo(view, packet);
  if (!echo || echo->kind != IcmpEcho::Kind::Reply || echo->identifier != kIdentifier) return false;
  if (!std::ranges::equal(echo->data, Bytes(kPattern).first(echo->data.size()))) return false;
  if (large) {
    state_ = State::Confirmed;  // however late
  } else {
    small_answered_ = true;
  }
  return true;
}

std::string_view to_string(MtuProbe::State state) {
  switch (state) {
    case MtuProbe::State::Idle:
      return "none";
    case MtuProbe::State::Probing:
      return "running";
    case MtuProbe::State::Confirmed:
      return "answered";
    case MtuProbe::State::TooNarrow:
      return "too_narrow";
    case MtuProbe::State::Unanswered:
      return "unanswered";
  }
  std::unreachable();
}

}  // namespace masque
