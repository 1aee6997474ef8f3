// SPDX-License-Identifier: Apache-2.0
// The control half of a session: capsules, timers, events. The packet half is session_packets.cc.
#include "core/tunnel/connect_ip_session.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/mutant.h"

namespace masque {

std::string_view to_string(SessionAbort::Cause cause) {
  switch (cause) {
    case SessionAbort::Cause::Malformed:
      return "malformed";
    case SessionAbort::Cause::MtuTooSmall:
      return "mtu_too_small";
    case SessionAbort::Cause::ProbeUnanswered:
      return "probe_unanswered";
    case SessionAbort::Cause::CapsuleTooSlow:
      return "capsule_too_slow";
  }
  std::unreachable();
}

ConnectIpSession::ConnectIpSession(Instant now, SessionOptions options)
    : options_(std::move(options)),
      filter_({.peer_sources = options_.peer_sources,
               .our_sources = options_.our_sources,
               .own_addresses = options_.own_addresses}),
      reader_(*this),
      mtu_({.grace = options_.ipv6_mtu_grace, .packet_size_max = options_.packet_size_max}),
      flow_hash_(options_.flow_seed),
      classifier_(options_.classifier, flow_hash_),
      queue_({.bytes_max = options_.queue_bytes_max,
              .realtime_delay_max = options_.realtime_queue_delay_max,
              .bulk_delay_max = options_.queue_delay_max}),
      release_(options_.release) {
  // Some gateways assign unprompted and end the tunnel when asked (protocol.md trap 3): wait first.
  if (!options_.wanted.empty()) ask_at_ = now + options_.address_wait;
}

void ConnectIpSession::abort(SessionAbort reason) {
  if (abort_) return;
  abort_ = reason;
  ask_at_.reset();
  capsule_deadline_.reset();
  probe_.stop();
  raise(SessionEvent::Aborted);
}

void ConnectIpSession::on_stream_data(Instant now, Bytes data, InnerPacketHandler& handler) {
  if (abort_) return;
  capsule_packets_ = &handler;
  capsule_now_ = now;
  const auto result = reader_.on_bytes(data);
  capsule_packets_ = nullptr;
  if (!result) {
    // RFC 9484 4.7, RFC 9297 3.3: a malformed capsule ends the request stream.
    abort({.cause = SessionAbort::Cause::Malformed, .error = result.error()});
    return;
  }
  // A capsule may take its time, but not for ever.
  if (reader_.buffered() == 0) {
    capsule_deadline_.reset();
  } else if (!capsule_deadline_ || reader_.counters().capsules != capsules_at_deadline_) {
    capsule_deadline_ = now + options_.capsule_deadline;
    capsules_at_deadline_ = reader_.counters().capsules;
  }
}

void ConnectIpSession::on_stream_fin(Instant) {
  if (abort_) return;
  const auto result = reader_.on_fin();
  if (!result) abort({.cause = SessionAbort::Cause::Malformed, .error = result.error()});
}

Result<void> ConnectIpSession::on_address_assign(const AddressAssign& capsule) {
  if (options_.peer_assigns == SessionOptions::PeerAssigns::Ignore &&
      !mutant("assign.by_client.remove")) {
    raise(SessionEvent::AddressesAssigned);
    return {};
  }
  const size_t denied_before = book_.denied().size();
  const auto change = book_.on_address_assign(capsule);
  // Any assignment is an answer, also one with Request ID 0 (protocol.md trap 8).
  if (!book_.ours().empty()) ask_at_.reset();
  if (change == AddressBook::Change::Changed) {
    filter_.set_assigned_to_us(book_.ours());
    raise(SessionEvent::AddressesAssigned);
    start_probe(capsule_now_);
  }
  if (book_.denied().size() > denied_before) raise(SessionEvent::AddressesDenied);
  return {};
}

Result<void> ConnectIpSession::on_address_request(const AddressRequest& capsule) {
  TRY_VOID(book_.on_address_request(capsule));
  raise(SessionEvent::AddressesRequested);
  return {};
}

Result<void> ConnectIpSession::on_route_advertisement(const RouteAdvertisement& capsule) {
  routes_seen_ = true;
  advertised_by_peer_ = capsule.ranges;
  raise(SessionEvent::RoutesAdvertised);
  return {};
}

void ConnectIpSession::on_datagram_capsule(Bytes http_datagram) {
  // RFC 9297 3.5: the same meaning as a DATAGRAM frame.
  ++counters_.datagram_capsules;
  on_http_datagram(capsule_now_, http_datagram, *capsule_packets_);
}

// RFC 9297 3.2: skipped. Of a peer that speaks an old draft it is told once: its numbers were
// others (protocol.md trap 7).
void ConnectIpSession::on_unknown_capsule(CapsuleType type, uint64_t) {
  if (unknown_capsule_ || capsule_type::is_grease(type)) return;
  unknown_capsule_ = type;
  raise(SessionEvent::UnknownCapsule);
}

void ConnectIpSession::assign_addresses(std::span<const IpPrefix> prefixes) {
  encode(book_.assign(prefixes), output_);
  filter_.set_assigned_to_peer(book_.theirs());
}

void ConnectIpSession::advertise_routes(std::vector<IpAddressRange> ranges) {
  // Adjacent ranges that are told apart on purpose stay so.
  advertised_by_us_ = check_routes(ranges) ? std::move(ranges) : in_route_order(std::move(ranges));
  if (!mutant("routes.limit.remove"))
    advertised_by_us_.resize(std::min(advertised_by_us_.size(), kAddressRangesMax));
  encode(RouteAdvertisement{.ranges = advertised_by_us_}, output_);
  filter_.set_our_routes(advertised_by_us_);
}

void ConnectIpSession::request_addresses(std::span<const IpPrefix> wanted) {
  ask_at_.reset();
  if (wanted.empty()) return;  // RFC 9484 4.7.2: an empty request is an error
  encode(book_.make_request(wanted), output_);
}

void ConnectIpSession::accept_routes(std::vector<IpAddressRange> ranges) {
  accepted_ = std::move(ranges);
  filter_.set_peer_routes(accepted_);
}

std::optional<IpAddress> ConnectIpSession::our_address(IpVersion version) const {
  for (const IpAddress& address : options_.own_addresses) {
    if (address.version() == version) return address;
  }
  for (const IpPrefix& prefix : book_.ours()) {
    if (prefix.version() == version) return prefix.first();
  }
  return std::nullopt;
}

bool ConnectIpSession::carries_ipv6() const {
  if (options_.ipv6 == SessionOptions::Ipv6::Refused) return false;
  const auto is_v6 = [](const IpPrefix& p) { return p.version() == IpVersion::V6; };
  return book_.has_ours(IpVersion::V6) || std::ranges::any_of(book_.theirs(), is_v6);
}

// RFC 9484 7.2: once IPv6 is assigned. The peer's address is known when we assigned it.
void ConnectIpSession::start_probe(Instant now) {
  if (options_.ipv6_probe == MtuProbePolicy::Off || !carries_ipv6()) {
    probe_.stop();
    return;
  }
  if (probe_.state() != MtuProbe::State::Idle || mtu_.limit() < kIpv6MinimumMtu) return;
  const auto source = our_address(IpVersion::V6);
  if (!source) return;
  static const IpAddress kAllNodes =
      IpAddress::v6({0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
  IpAddress destination = kAllNodes;
  for (const IpPrefix& prefix : book_.theirs()) {
    // Of a whole network we do not know which address the peer uses.
    if (prefix.version() == IpVersion::V6 && prefix.length() == 128) destination = prefix.first();
  }
  probe_.start(now, *source, destination);
}

bool ConnectIpSession::update_mtu(Instant now, const DatagramChannel& channel) {
  const auto change =
      mtu_.on_limit(now, channel.packet_size_max(), carries_ipv6() ? Ipv6Use::Yes : Ipv6Use::No);
  if (!abort_ && probe_.state() == MtuProbe::State::Idle) start_probe(now);
  return change == MtuMonitor::Change::Changed;
}

std::optional<Instant> ConnectIpSession::next_timeout() const {
  if (abort_) return std::nullopt;
  const auto control = earlier(earlier(ask_at_, capsule_deadline_),
                               earlier(mtu_.next_timeout(), probe_.next_timeout()));
  const auto patience = reads_anyway_ ? std::nullopt : patience_ends_;
  return earlier(control, earlier(release_.next_timeout(), patience));
}

void ConnectIpSession::on_timeout(Instant now, DatagramChannel& channel,
                                  InnerPacketHandler& handler) {
  if (abort_) return;
  release_due(now, handler);
  if (patience_ends_ && now >= *patience_ends_) reads_anyway_ = true;
  if (ask_at_ && now >= *ask_at_) request_addresses(options_.wanted);
  if (capsule_deadline_ && now >= *capsule_deadline_ && !mutant("capsule.deadline.remove")) {
    abort({.cause = SessionAbort::Cause::CapsuleTooSlow});
    return;
  }
  update_mtu(now, channel);
  if (mtu_.must_abort(now) && !mutant("mtu.ipv6_minimum.remove")) {
    // RFC 9484 7.2: IPv6 over QUIC DATAGRAM frames on a path that cannot carry 1280 bytes.
    abort({.cause = SessionAbort::Cause::MtuTooSmall});
    return;
  }
  run_probe(now, channel);
}

void ConnectIpSession::run_probe(Instant now, DatagramChannel& channel) {
  std::array<uint8_t, MtuProbe::kPacketSize> packet;
  switch (probe_.on_timeout(now)) {
    case MtuProbe::Due::Nothing:
      return;
    case MtuProbe::Due::SendBoth:
      send_own(now, Bytes(packet).first(probe_.write_small(packet)), channel);
      [[fallthrough]];
    case MtuProbe::Due::SendLarge:
      return send_own(now, Bytes(packet).first(probe_.write_large(packet)), channel);
    case MtuProbe::Due::GaveUp:
      return on_probe_failed();
  }
}

void ConnectIpSession::send_own(Instant now, Bytes packet, DatagramChannel& channel) {
  const PacketSlices slices{.head = packet, .body = {}};
  if (channel.send_packet(now, slices, TrafficClass::Bulk) == SendResult::Blocked) {
    enqueue(now, slices);
  }
}

// RFC 9484 7.2: tear the tunnel down when the check fails. A peer that answers no pings whatever
// their size has not failed it.
void ConnectIpSession::on_probe_failed() {
  if (probe_.state() == MtuProbe::State::TooNarrow && !mutant("probe.narrow.remove")) {
    return abort({.cause = SessionAbort::Cause::MtuTooSmall});
  }
  ++counters_.ipv6_probes_unanswered;
  if (options_.ipv6_probe == MtuProbePolicy::Require && !mutant("probe.require.remove")) {
    return abort({.cause = SessionAbort::Cause::ProbeUnanswered});
  }
  raise(SessionEvent::MtuProbeUnanswered);
}

std::optional<SessionEvent> ConnectIpSession::poll_event() {
  if (events_ == 0) return std::nullopt;
  const int lowest = std::countr_zero(events_);
  events_ &= events_ - 1;
  return static_cast<SessionEvent>(lowest);
}

}  // namespace masque
