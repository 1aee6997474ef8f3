// SPDX-License-Identifier: Apache-2.0
// One CONNECT-IP request (RFC 9484), either side: addresses, routes, checks, MTU, ICMP. It knows
// neither HTTP nor QUIC: it is fed the data stream and the HTTP Datagrams of its request and is
// given a DatagramChannel to send through.
//
// A packet to the peer (on_ip_packet):
//   (1) filter: source, destination, protocol  (2) size against the channel's limit now, else
//   Packet Too Big  (3) TTL - 1 if no kernel did it  (4) class  (5) IPv4 above the limit that may
//   be cut: fragments (session_fragments.cc)  (6) channel, or the queue while it is blocked
// A packet from the peer (on_http_datagram, DATAGRAM capsules):
//   (1) Context ID  (2) parse  (3) source  (4) echo requests that are ours to answer, our own probe
//   (5) destination  (6) real time with a stamp: held until its time  (7) InnerPacketHandler
// Answers to the peer (ICMP errors, echo replies) go into the queue: the connection below is
// reading.
//
// Timers: wait for an unprompted ADDRESS_ASSIGN, MTU grace, MTU probe, unfinished capsule, timed
// release, patience with a full queue.
// After poll_event() has said Aborted the session does nothing more; abort_reason() says why.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/capsule/capsule.h"
#include "core/capsule/capsule_reader.h"
#include "core/tunnel/address_book.h"
#include "core/tunnel/counters.h"
#include "core/tunnel/datagram_channel.h"
#include "core/tunnel/egress_queue.h"
#include "core/tunnel/flow_hash.h"
#include "core/tunnel/icmp_responder.h"
#include "core/tunnel/mtu_monitor.h"
#include "core/tunnel/mtu_probe.h"
#include "core/tunnel/mtu_probe_policy.h"
#include "core/tunnel/packet_filter.h"
#include "core/tunnel/packet_sink.h"
#include "core/tunnel/release_queue.h"
#include "core/tunnel/session_figures.h"
#include "core/tunnel/traffic_classifier.h"

namespace masque {

struct SessionOptions {
  enum class Role : uint8_t { Client, Proxy };
  Role role = Role::Client;
  std::vector<IpAddress>
      own_addresses;  // ours besides what the peer assigns; ICMP errors come from them
  PacketFilter::PeerSources peer_sources = PacketFilter::PeerSources::Known;
  PacketFilter::OurSources our_sources = PacketFilter::OurSources::Ours;
  enum class LocalEcho : uint8_t { Kernel, Answer };
  LocalEcho local_echo = LocalEcho::Kernel;  // who answers pings to our own addresses
  // Ignore: a gateway takes no addresses from its clients; the event tells that one was offered.
  enum class PeerAssigns : uint8_t { Accept, Ignore };
  PeerAssigns peer_assigns = PeerAssigns::Accept;

  // What to ask for when the peer has assigned nothing for `address_wait`; empty: never ask.
  std::vector<IpPrefix> wanted;
  Duration address_wait = 1s;

  size_t queue_bytes_max = 256 * 1024;
  Duration queue_delay_max = 500ms;           // bulk: CoDel acts long before
  Duration realtime_queue_delay_max = 100ms;  // later it is of no use
  ClassifierOptions classifier;
  ReleaseOptions release;
  uint64_t flow_seed = 0;  // random: who knows it can make flows collide
  size_t packet_size_max = 65535;
  // Refused: whatever the peer assigns, we use no IPv6, so that the path need not carry 1280 bytes.
  enum class Ipv6 : uint8_t { Carried, Refused };
  Ipv6 ipv6 = Ipv6::Carried;
  MtuProbePolicy ipv6_probe = MtuProbePolicy::Measure;
  Duration ipv6_mtu_grace = 15s;
  Duration capsule_deadline = 30s;
};

enum class SessionEvent : uint8_t {
  AddressesAssigned,   // assigned_to_us() changed, or an assignment was ignored
  AddressesDenied,     // denied_families()
  AddressesRequested,  // answer with assign_addresses()
  RoutesAdvertised,    // advertised_by_peer(); nothing is in force before accept_routes()
  MtuProbeUnanswered,  // and nothing follows from it
  UnknownCapsule,      // the first one that is no grease: unknown_capsule()
  Aborted,
};

struct SessionAbort {
  enum class Cause : uint8_t { Malformed, MtuTooSmall, ProbeUnanswered, CapsuleTooSlow };
  Cause cause = Cause::Malformed;
  WireError error = WireError::Truncated;  // Malformed
};
std::string_view to_string(SessionAbort::Cause cause);

// Gets the packets from the peer that passed every check; valid during the call.
class InnerPacketHandler {
 public:
  virtual ~InnerPacketHandler() = default;
  virtual void on_inner_packet(Bytes packet, const IpPacketView& view) = 0;
};

enum class SendVerdict : uint8_t { Sent, Queued, Dropped };
// Who decremented TTL or Hop Limit of a packet to the peer (RFC 9484 7.2: once, when forwarded).
enum class Forwarding : uint8_t {
  KernelDecrements,  // it came from a TUN: the kernel forwarded it, or it began here
  WeDecrement,       // it came from another session, in one piece (`body` is empty)
};

// The way back to whoever sent a packet to the peer: ICMP errors about what had to wait go there.
class WayBack {
 public:
  struct Way {
    Forwarding forwarding;
    PacketSink& sink;
  };
  virtual ~WayBack() = default;
  // `source`: of the packet.
  virtual Way to(const IpAddress& source) = 0;
};

// Where all packets come from a TUN.
class WayBackToTun final : public WayBack {
 public:
  explicit WayBackToTun(PacketSink& tun) : tun_(tun) {}
  Way to(const IpAddress&) override { return {Forwarding::KernelDecrements, tun_}; }

 private:
  PacketSink& tun_;
};

class ConnectIpSession final : private CapsuleVisitor {
 public:
  // `now` starts the wait for addresses.
  ConnectIpSession(Instant now, SessionOptions options);
  ~ConnectIpSession() override = default;
  ConnectIpSession(const ConnectIpSession&) = delete;
  ConnectIpSession& operator=(const ConnectIpSession&) = delete;

  // --- from the peer ---
  void on_stream_data(Instant now, Bytes data, InnerPacketHandler& handler);
  // The peer's clean end; inside a capsule it aborts.
  void on_stream_fin(Instant now);
  // `origin`: what is known of its journey; nothing means that it is delivered at once.
  void on_http_datagram(Instant now, Bytes payload, InnerPacketHandler& handler,
                        const DatagramOrigin& origin = {});

  // --- to the peer ---
  // ICMP errors about the packet go to `back`: the TUN, or a sink over the queue of another
  // session.
  SendVerdict on_ip_packet(Instant now, const PacketSlices& packet, const IpPacketView& view,
                           Forwarding forwarding, DatagramChannel& channel, PacketSink& back);
  // Puts a packet for the peer into the queue without any check: answers to the peer itself.
  void enqueue(Instant now, const PacketSlices& packet);
  // An ICMP error to the peer about a packet of its own, refused outside (policy).
  void refuse(Instant now, DropReason reason, const IpPacketView& view, Bytes packet);
  // Sends what waits, as far as the channel takes it. What has become too large meanwhile is cut or
  // answered like any other packet that is.
  void flush(Instant now, DatagramChannel& channel, WayBack& back);
  bool queue_empty() const { return queue_.empty(); }
  // False once the queue is half full: leave packets where they are, which costs nothing while the
  // channel blocks for a moment. When it blocks for longer they are wanted all the same, until the
  // queue is short again: real time must not wait behind bulk in the TUN, and a queue that no AQM
  // sees must not grow there.
  bool wants_more() const { return !is_half_full() || reads_anyway_; }
  // The channel's limit may have moved; call it once a turn. True when mtu() changed.
  bool update_mtu(Instant now, const DatagramChannel& channel);
  size_t mtu() const { return mtu_.limit(); }

  // --- what we tell the peer, each the complete list ---
  void assign_addresses(std::span<const IpPrefix> prefixes);
  // In any order; what is beyond kAddressRangesMax is left out, the highest addresses first.
  void advertise_routes(std::vector<IpAddressRange> ranges);
  void request_addresses(std::span<const IpPrefix> wanted);
  // Which of the peer's routes are in force.
  void accept_routes(std::vector<IpAddressRange> ranges);

  // Bytes for the data stream: the owner sends them and calls consume_stream_output.
  Bytes stream_output() const { return output_.view(); }
  void consume_stream_output(size_t count) { output_.consume(count); }

  // --- timers and events ---
  std::optional<Instant> next_timeout() const;
  void on_timeout(Instant now, DatagramChannel& channel, InnerPacketHandler& handler);
  std::optional<SessionEvent> poll_event();

  // --- state ---
  const std::vector<IpPrefix>& assigned_to_us() const { return book_.ours(); }
  const std::vector<IpPrefix>& assigned_to_peer() const { return book_.theirs(); }
  const std::vector<IpAddressRange>& advertised_by_us() const { return advertised_by_us_; }
  const std::vector<IpAddressRange>& advertised_by_peer() const { return advertised_by_peer_; }
  const std::vector<IpAddressRange>& accepted_routes() const { return accepted_; }
  std::vector<IpVersion> denied_families() const { return book_.denied(); }
  const std::optional<CapsuleType>& unknown_capsule() const { return unknown_capsule_; }
  std::span<const RequestedAddress> requests_pending() const { return book_.pending(); }
  const std::optional<SessionAbort>& abort_reason() const { return abort_; }
  bool has_routes() const { return routes_seen_; }  // the peer advertised, even if nothing
  // Large pings of the probe are not answered while small ones are.
  bool looks_narrow() const { return probe_.looks_narrow(); }
  const TunnelCounters& counters() const { return counters_; }
  TunnelCounters& counters() { return counters_; }
  const EgressCounters& queue_counters() const { return queue_.counters(); }
  const TrafficClassifier::Counters& classifier_counters() const { return classifier_.counters(); }
  ReleaseFigures release_figures() const { return release_.figures(); }
  SessionFigures figures() const;

  // How long a full queue leaves the TUN unread. On fast links that must outlast the moments in
  // which the peer gets no CPU time: with 2 ms, a busy machine dropped a hundred packets a second.
  static constexpr Duration kFullQueuePatience = 20ms;

 private:
  Result<void> on_address_assign(const AddressAssign& capsule) override;
  Result<void> on_address_request(const AddressRequest& capsule) override;
  Result<void> on_route_advertisement(const RouteAdvertisement& capsule) override;
  void on_datagram_capsule(Bytes http_datagram) override;
  void on_unknown_capsule(CapsuleType type, uint64_t length) override;

  class ToHandler;
  void on_packet_from_peer(Instant now, Bytes packet, InnerPacketHandler& handler,
                           const DatagramOrigin& origin);
  void deliver(Bytes packet, const IpPacketView& view, InnerPacketHandler& handler);
  void deliver_released(Bytes packet, InnerPacketHandler& handler);
  static bool has_stamp(const DatagramOrigin& origin);
  bool is_held(const DatagramOrigin& origin) const;
  void observe_jitter(const DatagramOrigin& origin);
  void release_due(Instant now, InnerPacketHandler& handler);
  bool answer_locally(Instant now, const IpPacketView& view, Bytes packet);
  void answer_echo(Instant now, const IpPacketView& view, Bytes packet, const IpAddress& from);
  void drop_from_peer(Instant now, DropReason reason, const IpPacketView& view, Bytes packet);
  // A packet on its way to the peer, with all that belongs to it.
  struct Outbound {
    const PacketSlices& packet;
    const IpPacketView& view;
    Forwarding forwarding;
    DatagramChannel& channel;
    PacketSink& back;
  };
  SendVerdict drop_to_peer(Instant now, DropReason reason, const Outbound& outbound);
  SendVerdict drop_too_big(Instant now, const Outbound& outbound);
  void on_queued_too_big(Instant now, const EgressQueue::Waiting& waiting, DatagramChannel& channel,
                         WayBack& back);
  SendVerdict decrement_and_send(Instant now, const Outbound& outbound);
  SendVerdict send_or_queue(Instant now, const PacketSlices& packet, const Outbound& outbound);
  bool must_cut(const PacketSlices& packet, const IpPacketView& view) const;
  SendVerdict send_fragments(Instant now, const PacketSlices& packet, TrafficClass traffic_class,
                             const Outbound& outbound);
  std::optional<SendVerdict> offer(Instant now, const PacketSlices& packet,
                                   TrafficClass traffic_class, const Outbound& outbound);
  void push(Instant now, TrafficClass traffic_class, uint64_t flow, const PacketSlices& packet);
  bool is_half_full() const { return queue_.bytes() >= queue_.bytes_max() / 2; }
  void watch_queue(Instant now);
  void report_to_host(Instant now, const IcmpError& error, const Outbound& outbound);
  std::optional<IpAddress> our_address(IpVersion version) const;
  bool carries_ipv6() const;
  void start_probe(Instant now);
  void run_probe(Instant now, DatagramChannel& channel);
  void send_own(Instant now, Bytes packet, DatagramChannel& channel);
  void on_probe_failed();
  void raise(SessionEvent event) { events_ |= 1u << static_cast<unsigned>(event); }
  void abort(SessionAbort reason);

  SessionOptions options_;
  AddressBook book_;
  PacketFilter filter_;
  CapsuleReader reader_;
  IcmpResponder errors_to_peer_;
  IcmpResponder errors_to_host_;
  TokenBucket echo_replies_{{.per_second = 50, .burst = 50}};
  MtuMonitor mtu_;
  MtuProbe probe_;
  FlowHash flow_hash_;
  TrafficClassifier classifier_;
  EgressQueue queue_;
  std::optional<Instant> patience_ends_;  // while the queue is half full
  bool reads_anyway_ = false;
  ReleaseQueue release_;
  TunnelCounters counters_;
  std::array<uint64_t, kTrafficClasses> classified_{};
  struct Jitter {
    JitterMeter before;
    JitterMeter after;
  };
  std::array<Jitter, kTrafficClasses> jitter_{};
  ByteBuffer output_;
  std::vector<IpAddressRange> advertised_by_us_;
  std::vector<IpAddressRange> advertised_by_peer_;
  std::vector<IpAddressRange> accepted_;
  bool routes_seen_ = false;
  uint32_t events_ = 0;  // a bit for each SessionEvent: state is told, not history
  std::optional<SessionAbort> abort_;
  std::optional<CapsuleType> unknown_capsule_;
  std::optional<Instant> ask_at_;            // ADDRESS_REQUEST
  std::optional<Instant> capsule_deadline_;  // while a capsule is unfinished
  uint64_t capsules_at_deadline_ = 0;
  // Only during on_stream_data: where DATAGRAM capsules go.
  InnerPacketHandler* capsule_packets_ = nullptr;
  Instant capsule_now_{};
};

}  // namespace masque
