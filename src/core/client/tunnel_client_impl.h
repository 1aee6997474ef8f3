// SPDX-License-Identifier: Apache-2.0
// The inside of TunnelClient: tunnel_client.cc (states, timers, control) and tunnel_session.cc (one
// connection: request, answer, session, packets).
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/capsule/scope.h"
#include "core/capsule/uri_template.h"
#include "core/client/ipv6_fallback.h"
#include "core/client/reconnector.h"
#include "core/client/tunnel_client.h"
#include "core/ip/throttle.h"
#include "core/tunnel/connect_ip_session.h"

namespace masque {

struct TunnelClient::Impl {
  // Where the present attempt stands.
  //   Waiting -> Dialing -> Settings -> Answer -> Addresses -> Up
  enum class Phase : uint8_t {
    Stopped,
    Waiting,    // for the back-off
    Dialing,    // for on_dialed
    Settings,   // for the gateway's SETTINGS
    Answer,     // for the response
    Addresses,  // for ADDRESS_ASSIGN and, a moment longer, ROUTE_ADVERTISEMENT
    Up,
  };

  class Channel final : public DatagramChannel {
   public:
    Channel(Impl& client, HttpConnection& connection, StreamId stream)
        : client_(client), connection_(connection), stream_(stream) {}
    SendResult send_packet(Instant now, const PacketSlices& packet,
                           TrafficClass traffic_class) override;
    size_t packet_size_max() const override { return connection_.packet_size_max(stream_); }
    SendingPace pace() const override { return connection_.pace(); }

   private:
    Impl& client_;
    HttpConnection& connection_;
    StreamId stream_;
  };

  // Where the packets of the session go.
  class ToTun final : public InnerPacketHandler {
   public:
    explicit ToTun(PacketSink& tun) : tun_(tun) {}
    void on_inner_packet(Bytes packet, const IpPacketView&) override { tun_.deliver(packet); }

   private:
    PacketSink& tun_;
  };

  struct Tunnel {
    Tunnel(Impl& client, HttpConnection& connection, StreamId stream, Instant now,
           SessionOptions options)
        : channel(client, connection, stream), session(now, std::move(options)) {}
    Channel channel;
    ConnectIpSession session;
  };

  // While a callback of the connection runs, its QUIC engine is reading and must not be made to
  // write.
  class Reading {
   public:
    explicit Reading(Impl& client)
        : client_(client), before_(std::exchange(client.reading, true)) {}
    ~Reading() { client_.reading = before_; }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;

   private:
    Impl& client_;
    bool before_;
  };

  enum class Loss : uint8_t { Passing, Refused };

  Impl(TunnelClientConfig config_in, UriTemplate uri_template_in, Scope scope_in, Rng& rng);

  // tunnel_client.cc
  void dial();
  void lose(std::string reason, Loss loss, unsigned status = 0);
  void drop_tunnel();
  void hang_up(std::string_view reason);
  void set_state(ClientState next, std::string reason, unsigned status = 0);
  bool is_ours(const HttpConnection& other) const { return connection == &other; }
  bool is_ours(const HttpConnection& other, StreamId id) const {
    return connection == &other && stream == id;
  }

  // tunnel_session.cc
  void open_request();
  HeaderFields request_fields() const;
  UriTemplate::Values template_values() const;
  void on_response(const HeaderFields& fields, bool fin);
  void start_session();
  void settle();
  void process_events();
  void on_session_aborted();
  void watch_width();
  void fall_back_to_ipv4();
  void on_addresses();
  void advertise_site();
  void on_routes();
  void take_routes();
  void take_routes_in_time();
  void become_up_when_ready();

  TunnelClientConfig config;
  UriTemplate uri_template;
  Scope scope;
  Reconnector reconnector;
  Ipv6Fallback fallback;
  uint64_t flow_seed;  // of this run

  ClientState state = ClientState::Idle;
  Phase phase = Phase::Stopped;
  HttpConnection* connection = nullptr;
  bool connection_gone = false;  // destroyed, and the host has not yet said why
  std::optional<StreamId> stream;
  std::unique_ptr<Tunnel> tunnel;
  std::optional<Instant> answer_deadline;  // dial to Up
  std::optional<Instant> routes_deadline;  // addresses are there, routes may follow
  std::optional<Instant> connected_since;
  bool was_connected = false;           // since start()
  bool ipv4_only = false;               // the present attempt
  std::optional<Instant> narrow_since;  // IPv6 is assigned and does not fit

  // The last known values outlive a connection: inner flows wait while we dial again.
  std::vector<IpPrefix> addresses;
  std::vector<IpAddressRange> advertised;  // by the gateway; without IPv6, what was there before
  std::vector<IpPrefix> routes;            // of these the accepted ones
  Throttle routes_throttle;                // each list may cost the host kernel routes
  size_t mtu = 0;
  uint64_t attempt = 0;
  uint64_t reconnects = 0;
  std::string last_error;
  TunnelCounters totals;  // of earlier sessions

  std::deque<ClientEvent> events;
  Instant now{};
  TransmitTarget* transmit = nullptr;
  PacketSink* tun = nullptr;
  bool reading = false;
};

}  // namespace masque
