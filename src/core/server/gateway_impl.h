// SPDX-License-Identifier: Apache-2.0
// The inside of Gateway, spread over gateway.cc (turns, timers, state), gateway_requests.cc
// (admission to session end), gateway_capsules.cc (what clients ask for), gateway_control.cc
// (policy, live changes), gateway_packets.cc (the packet path) and gateway_shutdown.cc (the planned
// end).
//
// Sessions live in slots; the router, the timer heap and the connections name them by slot number.
// A session's number goes out of all three when it ends, and only then is the slot used again.
#pragma once

#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/mutant.h"
#include "core/ip/throttle.h"
#include "core/quic/deadline_heap.h"
#include "core/server/address_pool.h"
#include "core/server/admission.h"
#include "core/server/client_rules.h"
#include "core/server/gateway.h"
#include "core/server/router.h"
#include "core/tunnel/connect_ip_session.h"

namespace masque {

struct Gateway::Impl {
  using Slot = Router::Slot;

  // Sends the packets of one session; Blocked while its connection is being read.
  class Channel final : public DatagramChannel {
   public:
    Channel(Impl& gateway, HttpConnection& connection, StreamId stream)
        : gateway_(gateway), connection_(connection), stream_(stream) {}
    SendResult send_packet(Instant now, const PacketSlices& packet,
                           TrafficClass traffic_class) override;
    size_t packet_size_max() const override { return connection_.packet_size_max(stream_); }
    SendingPace pace() const override { return connection_.pace(); }

   private:
    Impl& gateway_;
    HttpConnection& connection_;
    StreamId stream_;
  };

  // What a client asked for by capsule and did not get yet (gateway_capsules.cc).
  struct Asked {
    bool addresses = false;
    bool routes = false;
    Throttle throttle;
  };

  struct Session {
    Session(Impl& gateway, HttpConnection& owner, StreamId id, Instant now, SessionOptions options)
        : connection(&owner),
          stream(id),
          channel(gateway, owner, id),
          tunnel(now, std::move(options)),
          since(now) {}

    Slot slot = 0;
    uint64_t number = 0;  // unique in the life of the gateway
    HttpConnection* connection;
    StreamId stream;
    Channel channel;
    ConnectIpSession tunnel;
    Instant since;
    std::string identity;
    Credential credential;
    Scope scope;
    std::vector<IpAddress> resolved;  // of a scope that is a name
    ClientRules rules;
    std::optional<IpAddress> outer;      // of ours, that it is connected to
    std::vector<IpPrefix> addresses;     // assigned and routed to it
    std::vector<IpPrefix> site_subnets;  // advertised by it and routed to it
    Asked asked;
    std::optional<std::vector<IpPrefix>> routes_override;  // set_session
    bool touched = false;                                  // is in touched_
  };

  // Where the packets of one session go that passed its checks.
  class FromSession final : public InnerPacketHandler {
   public:
    FromSession(Impl& gateway, Session& session) : gateway_(gateway), session_(session) {}
    void on_inner_packet(Bytes packet, const IpPacketView& view) override {
      gateway_.on_inner_packet(session_, packet, view);
    }

   private:
    Impl& gateway_;
    Session& session_;
  };

  class WayBackToSender;

  // While a connection's callback runs, its QUIC engine is reading and must not be made to write.
  class Reading {
   public:
    Reading(Impl& gateway, HttpConnection& connection)
        : gateway_(gateway), before_(std::exchange(gateway.reading, &connection)) {}
    ~Reading() { gateway_.reading = before_; }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;

   private:
    Impl& gateway_;
    HttpConnection* before_;
  };

  struct Connection {
    std::vector<std::pair<StreamId, Slot>> sessions;
    std::string cannot;  // why its client cannot take HTTP Datagrams, once its SETTINGS are in
    TokenBucket requests{{.per_second = 20, .burst = 100}};
  };

  // A request whose target is a name that is being resolved.
  struct Pending {
    HttpConnection* connection;
    StreamId stream;
    Admitted admitted;
    Instant deadline;
    std::vector<uint8_t> early_data;  // capsules that came before our answer
  };

  Impl(GatewayConfig config_in, Rng& rng, std::unique_ptr<const PolicySnapshot> policy);

  // gateway.cc
  Session* find(HttpConnection& connection, StreamId stream);
  Connection& connection_state(HttpConnection& connection);
  void touch(Session& session);
  void settle(Session& session);  // output, queue, timer
  void emit(GatewayEvent event);
  void emit_lease_changes();

  // gateway_requests.cc
  void on_request(HttpConnection& connection, StreamId stream, const HeaderFields& fields,
                  bool fin);
  void refuse(HttpConnection& connection, StreamId stream, const Refusal& refusal,
              std::string_view identity);
  void refuse_closed(HttpConnection& connection, StreamId stream, std::string_view identity);
  std::optional<Refusal> shortage(HttpConnection& connection) const;
  bool may_wait_for_name(const HttpConnection& connection, std::string_view identity) const;
  void wait_for_name(HttpConnection& connection, StreamId stream, Admitted admitted);
  auto find_pending(HttpConnection& connection, StreamId stream) {
    return std::ranges::find_if(pending, [&](const auto& entry) {
      return entry.second.connection == &connection && entry.second.stream == stream;
    });
  }
  void give_up_waiting(HttpConnection& connection, StreamId stream);
  void open_session(HttpConnection& connection, StreamId stream, const Admitted& admitted,
                    std::vector<IpAddress> resolved);
  RangeSet gateway_denied_to(const ClientPolicy& client, const HttpConnection& connection) const;
  void take_fixed(const std::string& identity, std::span<const IpPrefix> prefixes);
  std::vector<IpPrefix> lease_for(const Admitted& admitted, const ClientPolicy& policy,
                                  std::span<const IpAddress> resolved);
  Session& make_session(HttpConnection& connection, StreamId stream, const Admitted& admitted);

  // gateway_sessions.cc
  void process_events(Session& session);
  void on_session_aborted(Session& session);
  void close_session(Session& session, SessionEnd end, std::string detail);
  void remove_session(Session& session, SessionEnd end, std::string detail);
  size_t close_identity(std::string_view identity, SessionEnd end, std::string_view detail);

  // gateway_capsules.cc
  void do_what_was_asked(Session& session);
  void accept_site_routes(Session& session);
  bool add_site_subnet(Session& session, const IpPrefix& prefix);
  void set_site_subnets(Session& session, const std::vector<IpAddressRange>& ranges);

  // gateway_control.cc
  void set_policy(std::unique_ptr<const PolicySnapshot> policy);
  std::vector<IpAddressRange> routes_for(const Session& session) const;
  void advertise(Session& session);
  std::expected<void, std::string> check_addresses(const Session& session,
                                                   const std::vector<IpPrefix>& addresses) const;
  std::expected<std::optional<std::vector<IpPrefix>>, std::string> changed_routes(
      const Session& session, const SessionChange& change) const;
  void set_addresses(Session& session, const std::vector<IpPrefix>& addresses);
  void reserve_fixed_addresses();
  bool route(Session& session, const IpPrefix& prefix);

  // gateway_shutdown.cc
  void reject(HttpConnection& connection, StreamId stream);
  void announce_end();
  void end_sessions();
  void close_connections();
  void next_ending_step();

  // gateway_packets.cc
  void on_tun_packet(const PacketSlices& packet);
  void flush_queue(Session& session);
  void on_inner_packet(Session& from, Bytes packet, const IpPacketView& view);
  bool may_reach_gateway(const Session& from, const IpPacketView& view) const;
  std::optional<DropReason> check_policy(const Session& from, const IpPacketView& view,
                                         Session*& destination);
  void drop_from_tun(DropReason reason, const PacketSlices& packet, const IpPacketView& view);
  bool may_talk(const Session& a, const Session& b) const {
    if (mutant("clients.one_side")) return a.rules.reach_clients == Permission::Allow;
    if (mutant("clients.wrong_field")) return a.rules.reach_gateway != GatewayReach::None;
    return a.rules.reach_clients == Permission::Allow && b.rules.reach_clients == Permission::Allow;
  }

  GatewayConfig config;
  Admission admission;
  std::unique_ptr<const PolicySnapshot> policy;
  RangeSet host_addresses;  // of the policy: the gateway's own outside the tunnel
  AddressPool pool;
  uint64_t flow_seed;  // of this run
  RangeSet own;        // our inner addresses
  Router router;
  DeadlineHeap deadlines;
  std::vector<std::unique_ptr<Session>> slots;
  std::vector<Slot> free_slots;
  std::vector<Slot> touched;  // settle() at the end of the turn
  std::unordered_map<HttpConnection*, Connection> connections;
  std::unordered_map<uint64_t, Pending> pending;
  std::deque<GatewayEvent> events;
  GatewayCounters totals;  // packets: of sessions that ended, and of none
  IcmpResponder icmp_to_tun;
  HttpConnection* reading = nullptr;  // its callback is running
  uint64_t next_session = 1;
  uint64_t next_ticket = 1;
  size_t live = 0;
  enum class Ending : uint8_t { No, Announced, SessionsEnded, Closed };
  Ending ending = Ending::No;
  std::optional<Instant> next_ending_at;

  Instant called_at{};
  TransmitTarget* transmit = nullptr;
  PacketSink* tun = nullptr;

  // Packets come in runs for one session.
  HttpConnection* last_connection = nullptr;
  StreamId last_stream{0};
  Session* last_session = nullptr;
};

}  // namespace masque
