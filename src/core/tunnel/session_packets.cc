// SPDX-License-Identifier: Apache-2.0
// The packet half of ConnectIpSession: nothing here allocates, locks or logs.
#include <algorithm>
#include <array>
#include <cstring>

#include "base/mutant.h"
#include "core/capsule/http_datagram.h"
#include "core/tunnel/connect_ip_session.h"

namespace masque {
namespace {

// IPv4 header with options, or the IPv6 fixed header: all that a TTL change touches.
constexpr size_t kTtlHeadMax = 60;

}  // namespace

// --- from the peer ---

// What the release queue lets go, on to the handler of the call that made it.
class ConnectIpSession::ToHandler final : public ReleaseSink {
 public:
  ToHandler(ConnectIpSession& session, InnerPacketHandler& handler)
      : session_(session), handler_(handler) {}
  void on_release(Bytes packet) override { session_.deliver_released(packet, handler_); }

 private:
  ConnectIpSession& session_;
  InnerPacketHandler& handler_;
};

void ConnectIpSession::on_http_datagram(Instant now, Bytes payload, InnerPacketHandler& handler,
                                        const DatagramOrigin& origin) {
  if (abort_) return;
  const auto datagram = parse_http_datagram(payload);
  if (!datagram || (datagram->context != kIpPacketContext && !mutant("context.remove"))) {
    counters_.drop(DropReason::UnknownContext);  // RFC 9484 6: dropped silently
    return;
  }
  on_packet_from_peer(now, datagram->payload, handler, origin);
}

void ConnectIpSession::on_packet_from_peer(Instant now, Bytes packet, InnerPacketHandler& handler,
                                           const DatagramOrigin& origin) {
  const auto view = parse_ip_packet(packet);
  if (!view) {
    counters_.drop(view.error() == PacketFault::RoutingHeaderType0 ? DropReason::RoutingHeader0
                                                                   : DropReason::Malformed);
    return;
  }
  if (answer_locally(now, *view, packet)) return;
  if (const auto drop = filter_.check_from_peer(*view); drop && !mutant("filter.incoming.remove")) {
    drop_from_peer(now, *drop, *view, packet);
    return;
  }
  if (has_stamp(origin)) observe_jitter(origin);
  if (is_held(origin)) {
    ToHandler sink(*this, handler);
    // Its stamp counts, not when it came out of the order: the budget is for all waiting together.
    return release_.push(now, *origin.relative_delay + origin.held, packet, sink);
  }
  deliver(packet, *view, handler);
}

bool ConnectIpSession::has_stamp(const DatagramOrigin& origin) {
  return origin.relative_delay && *origin.relative_delay <= ReleaseQueue::kRelativeDelayMax &&
         *origin.relative_delay >= -ReleaseQueue::kRelativeDelayMax;
}

bool ConnectIpSession::is_held(const DatagramOrigin& origin) const {
  return options_.release.mode == ReleaseOptions::Mode::Timed &&
         origin.traffic_class == TrafficClass::RealTime && has_stamp(origin);
}

// What the release queue holds has the jitter that it measures itself in the end.
void ConnectIpSession::observe_jitter(const DatagramOrigin& origin) {
  Jitter& jitter = jitter_[static_cast<size_t>(origin.traffic_class)];
  jitter.before.on_packet(*origin.relative_delay);
  jitter.after.on_packet(*origin.relative_delay + origin.held);
}

void ConnectIpSession::deliver(Bytes packet, const IpPacketView& view,
                               InnerPacketHandler& handler) {
  ++counters_.packets_received;
  counters_.bytes_received += packet.size();
  handler.on_inner_packet(packet, view);
}

// It was checked when it came; addresses and routes may have been withdrawn while it waited.
void ConnectIpSession::deliver_released(Bytes packet, InnerPacketHandler& handler) {
  const auto view = parse_ip_packet(packet);
  MASQUE_ASSERT(view.has_value());
  if (const auto drop = filter_.check_from_peer(*view)) return counters_.drop(*drop);
  deliver(packet, *view, handler);
}

void ConnectIpSession::release_due(Instant now, InnerPacketHandler& handler) {
  ToHandler sink(*this, handler);
  release_.on_timeout(now, sink);
}

// Echo requests that no kernel answers for us, and the reply to our own probe. False: an ordinary
// packet.
bool ConnectIpSession::answer_locally(Instant now, const IpPacketView& view, Bytes packet) {
  if (view.protocol != ip_protocol::icmp_of(view.version)) return false;
  if (is_all_nodes(view.destination)) {
    // A peer without an address yet may ask from its link-local one.
    const bool on_link = classify(view.source) == AddressClass::LinkLocal;
    const auto drop = on_link ? std::nullopt : filter_.check_source_from_peer(view);
    const auto from = our_address(IpVersion::V6);
    if (drop && !mutant("echo.all_nodes.source")) {
      counters_.drop(*drop);
    } else if (from) {
      answer_echo(now, view, packet, *from);
    }
    return true;
  }
  if (probe_.on_packet(view, packet)) return true;
  if (options_.local_echo != SessionOptions::LocalEcho::Answer) return false;
  if (!filter_.is_ours(view.destination)) return false;
  if (filter_.check_source_from_peer(view) && !mutant("echo.source.remove")) return false;
  const auto echo = parse_icmp_echo(view, packet);
  if (!echo || echo->kind != IcmpEcho::Kind::Request) return false;
  answer_echo(now, view, packet, view.destination);
  return true;
}

void ConnectIpSession::answer_echo(Instant now, const IpPacketView& view, Bytes packet,
                                   const IpAddress& from) {
  const auto echo = parse_icmp_echo(view, packet);
  if (!echo || echo->kind != IcmpEcho::Kind::Request ||
      (!echo_replies_.take(now) && !mutant("echo.limit.remove"))) {
    return;
  }
  std::array<uint8_t, 2048> reply;
  const size_t size = build_icmp_echo({.kind = IcmpEcho::Kind::Reply,
                                       .source = from,
                                       .destination = view.source,
                                       .identifier = echo->identifier,
                                       .sequence = echo->sequence,
                                       .data = echo->data},
                                      reply);
  if (size == 0) return;
  ++counters_.echo_replies_sent;
  enqueue(now, {.head = Bytes(reply).first(size), .body = {}});
}

void ConnectIpSession::drop_from_peer(Instant now, DropReason reason, const IpPacketView& view,
                                      Bytes packet) {
  counters_.drop(reason);
  const auto kind = icmp_error_for(reason);
  if (!kind) return;
  const IpAddress from = our_address(view.version).value_or(view.destination);
  const Bytes error = errors_to_peer_.respond(now, {.kind = *kind}, from, view,
                                              {.head = packet, .body = {}}, counters_);
  if (!error.empty()) enqueue(now, {.head = error, .body = {}});
}

void ConnectIpSession::refuse(Instant now, DropReason reason, const IpPacketView& view,
                              Bytes packet) {
  // It had passed our own checks and was counted as received.
  --counters_.packets_received;
  counters_.bytes_received -= packet.size();
  drop_from_peer(now, reason, view, packet);
}

// --- to the peer ---

SendVerdict ConnectIpSession::on_ip_packet(Instant now, const PacketSlices& packet,
                                           const IpPacketView& view, Forwarding forwarding,
                                           DatagramChannel& channel, PacketSink& back) {
  if (abort_) return SendVerdict::Dropped;
  const Outbound outbound{packet, view, forwarding, channel, back};
  const auto drop = filter_.check_to_peer(view, packet);
  if (drop && !mutant("filter.outgoing.remove")) return drop_to_peer(now, *drop, outbound);
  if (packet.size() > mtu_.limit() && !mutant("mtu.remove")) {
    update_mtu(now, channel);  // the limit may have risen since the last turn
    if (packet.size() > mtu_.limit() && !must_cut(packet, view)) return drop_too_big(now, outbound);
  }
  if (forwarding == Forwarding::KernelDecrements || mutant("ttl.forwarder.negate")) {
    return send_or_queue(now, packet, outbound);
  }
  return decrement_and_send(now, outbound);
}

// RFC 9484 7.2: once, just before encapsulation. The packet's bytes belong to its sender's
// connection: only the header is copied.
SendVerdict ConnectIpSession::decrement_and_send(Instant now, const Outbound& outbound) {
  const Bytes packet = outbound.packet.head;
  MASQUE_ASSERT(outbound.packet.body.empty());
  std::array<uint8_t, kTtlHeadMax> head;
  const size_t head_size = outbound.view.header_length;
  std::memcpy(head.data(), packet.data(), head_size);
  if (decrement_ttl(MutableBytes(head).first(head_size)) == TtlResult::Expired &&
      !mutant("ttl.expired.remove")) {
    return drop_to_peer(now, DropReason::TtlExpired, outbound);
  }
  return send_or_queue(
      now, {.head = Bytes(head).first(head_size), .body = packet.subspan(head_size)}, outbound);
}

SendVerdict ConnectIpSession::send_or_queue(Instant now, const PacketSlices& packet,
                                            const Outbound& outbound) {
  // `packet` may be split within the headers, the original never is.
  const Bytes headers = outbound.packet.head;
  const TrafficClass traffic_class = classifier_.classify(now, outbound.view, headers);
  ++classified_[static_cast<size_t>(traffic_class)];
  if (must_cut(packet, outbound.view)) return send_fragments(now, packet, traffic_class, outbound);
  if (const auto verdict = offer(now, packet, traffic_class, outbound)) return *verdict;
  update_mtu(now, outbound.channel);
  if (must_cut(packet, outbound.view)) return send_fragments(now, packet, traffic_class, outbound);
  return drop_too_big(now, outbound);
}

// To the channel, else into the queue; nullopt: too large for the channel.
std::optional<SendVerdict> ConnectIpSession::offer(Instant now, const PacketSlices& packet,
                                                   TrafficClass traffic_class,
                                                   const Outbound& outbound) {
  const bool may_overtake = traffic_class == TrafficClass::RealTime && !queue_.has_realtime();
  if (queue_.empty() || may_overtake) {
    switch (outbound.channel.send_packet(now, packet, traffic_class)) {
      case SendResult::Sent:
        ++counters_.packets_sent;
        counters_.bytes_sent += packet.size();
        return SendVerdict::Sent;
      case SendResult::TooLarge:
        return std::nullopt;
      case SendResult::Closed:
        counters_.drop(DropReason::ChannelClosed);
        return SendVerdict::Dropped;
      case SendResult::Blocked:
        break;
    }
  }
  push(now, traffic_class, flow_hash_(outbound.view, outbound.packet.head), packet);
  return SendVerdict::Queued;
}

void ConnectIpSession::enqueue(Instant now, const PacketSlices& packet) {
  const auto view = parse_ip_packet(packet);
  push(now, TrafficClass::Bulk, view ? flow_hash_(*view, packet.head) : 0, packet);
}

void ConnectIpSession::push(Instant now, TrafficClass traffic_class, uint64_t flow,
                            const PacketSlices& packet) {
  ++counters_.packets_queued;
  queue_.push(now, traffic_class, flow, packet);
  watch_queue(now);
}

void ConnectIpSession::watch_queue(Instant now) {
  const EgressCounters& counters = queue_.counters();
  counters_.drops[static_cast<size_t>(DropReason::QueueFull)] = counters.overflow;
  counters_.drops[static_cast<size_t>(DropReason::QueueExpired)] = counters.expired;
  counters_.drops[static_cast<size_t>(DropReason::QueueManaged)] = counters.codel_dropped;
  counters_.packets_marked = counters.codel_marked;
  if (!is_half_full()) {
    patience_ends_.reset();
    // Flows that heed no signal fill it again and again: it has to have been drained once.
    if (queue_.bytes() < queue_.bytes_max() / 8) reads_anyway_ = false;
    return;
  }
  if (!patience_ends_) patience_ends_ = now + kFullQueuePatience;
  // It moves, and too slowly.
  if (queue_.sojourn() > kFullQueuePatience) reads_anyway_ = true;
}

SendVerdict ConnectIpSession::drop_to_peer(Instant now, DropReason reason,
                                           const Outbound& outbound) {
  counters_.drop(reason);
  if (const auto kind = icmp_error_for(reason)) report_to_host(now, {.kind = *kind}, outbound);
  return SendVerdict::Dropped;
}

// RFC 9484 7.2: no fallback to a DATAGRAM capsule, but Packet Too Big with the limit of this
// moment.
SendVerdict ConnectIpSession::drop_too_big(Instant now, const Outbound& outbound) {
  if (mtu_.limit() == 0) {
    counters_.drop(DropReason::NotReady);
    return SendVerdict::Dropped;
  }
  counters_.drop(DropReason::TooBig);
  // IPv6 has no smaller MTU than 1280 (RFC 8200 5): below it the tunnel recovers or ends soon.
  const size_t mtu = outbound.view.version == IpVersion::V6
                         ? std::max(mtu_.limit(), kIpv6MinimumMtu)
                         : mtu_.limit();
  if (outbound.packet.size() <= mtu && mtu != mtu_.limit()) return SendVerdict::Dropped;
  report_to_host(now, {.kind = IcmpErrorKind::TooBig, .mtu = static_cast<uint32_t>(mtu)}, outbound);
  return SendVerdict::Dropped;
}

void ConnectIpSession::report_to_host(Instant now, const IcmpError& error,
                                      const Outbound& outbound) {
  if (classify(outbound.view.destination) != AddressClass::Unicast) return;
  // Towards our own TUN the error comes from the packet's destination: a kernel refuses packets
  // from the outside that bear an address of its own. Another client gets it from us, the router
  // between.
  IpAddress from = outbound.view.destination;
  if (outbound.forwarding == Forwarding::WeDecrement) {
    from = our_address(outbound.view.version).value_or(from);
  }
  const Bytes answer =
      errors_to_host_.respond(now, error, from, outbound.view, outbound.packet, counters_);
  if (!answer.empty()) outbound.back.deliver(answer);
}

SessionFigures ConnectIpSession::figures() const {
  SessionFigures out{.classes = {},
                     .classifier = classifier_.counters(),
                     .waiting_packets = queue_.count(),
                     .queue = queue_.counters(),
                     .release = release_.figures(),
                     .release_waiting = release_.count(),
                     .ipv6_probe = probe_.state()};
  for (size_t i = 0; i < kTrafficClasses; ++i) {
    out.classes[i] = {.classified = classified_[i],
                      .jitter_before = jitter_[i].before.jitter(),
                      .jitter_after = jitter_[i].after.jitter()};
  }
  ClassFigures& realtime = out.of(TrafficClass::RealTime);
  realtime.waiting_bytes = queue_.realtime_bytes();
  out.of(TrafficClass::Bulk).waiting_bytes = queue_.bytes() - queue_.realtime_bytes();
  if (options_.release.mode == ReleaseOptions::Mode::Timed)
    realtime.jitter_after = out.release.jitter_after;
  return out;
}

void ConnectIpSession::flush(Instant now, DatagramChannel& channel, WayBack& back) {
  if (queue_.empty()) return;
  queue_.set_pace(channel.pace());
  while (const auto waiting = queue_.front(now)) {
    const PacketSlices packet{.head = waiting->packet, .body = {}};
    const SendResult result = channel.send_packet(now, packet, waiting->traffic_class);
    if (result == SendResult::Blocked) break;
    if (result == SendResult::Sent) {
      ++counters_.packets_sent;
      counters_.bytes_sent += packet.size();
    } else if (result == SendResult::TooLarge && !mutant("mtu.queued.remove")) {
      on_queued_too_big(now, *waiting, channel, back);
      continue;
    } else {
      counters_.drop(DropReason::ChannelClosed);
    }
    queue_.pop();
  }
  watch_queue(now);
}

}  // namespace masque
