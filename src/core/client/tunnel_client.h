// SPDX-License-Identifier: Apache-2.0
// The client: opens one CONNECT-IP session (RFC 9484), keeps it, and opens it again when it is
// lost.
//
//            start()            request answered 2xx and
//   Idle ----------> Connecting -- addresses assigned --> Connected
//    ^                   |  ^                                 | lost: stream, connection,
//    |            failed |  |                                 v GOAWAY, MTU
//    |                   v  | back-off over: Dial         Reconnecting
//    |  stop()       (same state, waits)  <---------------- (waits, then as Connecting)
//    +---- any state
//   Failed: the gateway refused us for good (401, 403, 400, 501): no retry storm, retried slowly.
//
// The host owns sockets and connections. On the Dial event it makes a connection whose handler is
// this object and calls on_dialed; when that connection ends, on_connection_lost.
//
// A turn: begin_turn(now, transmit, tun); received datagrams into the connection; on_tun_packet
// ...; on_timeout(now) when due; flush(); poll_transmit of the connection; poll_event.
//
// A path that cannot carry 1280 bytes (RFC 9484 7.2) ends a tunnel with IPv6; the next one asks for
// IPv4 alone, where there is any. The IPv6 routes of before stay: their packets are refused with
// ICMP instead of leaving past the tunnel.
//
// Timers: back-off, IPv4 alone, answer to the request, wait for an unprompted ADDRESS_ASSIGN, those
// of the session.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/rng.h"
#include "base/time.h"
#include "core/client/route_acceptance.h"
#include "core/http/http_connection.h"
#include "core/ip/address.h"
#include "core/path/path_settings.h"
#include "core/quic/transmit_target.h"
#include "core/tunnel/counters.h"
#include "core/tunnel/mtu_probe_policy.h"
#include "core/tunnel/packet_sink.h"
#include "core/tunnel/release_queue.h"
#include "core/tunnel/session_figures.h"
#include "core/tunnel/traffic_classifier.h"

namespace masque {

struct TunnelClientConfig {
  // RFC 9484 3, checked by parse(); the port of the authority is kept as it is written.
  std::string uri_template;  // "https://vpn.example:4433/.well-known/masque/ip/{target}/{ipproto}/"
  std::string target = "*";  // raw, not percent-encoded
  std::string protocol = "*";                // "*" or 0..255
  std::string bearer_token;                  // empty: no authorization field
  std::string protocol_name = "connect-ip";  // :protocol; some peers want another

  enum class Settings : uint8_t { Require, Ignore };
  Settings settings = Settings::Require;  // Ignore: peers that do not announce extended CONNECT

  RouteAcceptance acceptance;  // which advertised routes we take

  std::vector<IpPrefix> static_addresses;  // out-of-band addresses: nothing is asked for
  std::vector<IpPrefix> site_subnets;      // what we advertise to the gateway (site-to-site)
  std::vector<IpPrefix> wanted_addresses;  // for ADDRESS_REQUEST; empty: any IPv4 and any IPv6
  // RFC 9484 4.7.2 lets us ask at once; gateways that assign unprompted may choke on the question.
  Duration address_wait = 1s;

  enum class LocalEcho : uint8_t { Kernel, Answer };
  LocalEcho local_echo = LocalEcho::Kernel;  // Answer: user-space clients answer pings themselves

  Duration answer_timeout = 15s;  // dial to Connected
  Duration backoff_first = 500ms;
  Duration backoff_max = 30s;
  Duration backoff_refused = 30s;  // after a refusal
  size_t queue_bytes_max = 2 * 1024 * 1024;
  PathSettings resilience;
  ClassifierOptions classifier;
  ReleaseOptions release;
  size_t mtu_max = 0;  // 0: what the path carries
  MtuProbePolicy ipv6_probe = MtuProbePolicy::Measure;
  Duration ipv6_mtu_grace = 15s;
  // On a path too narrow for IPv6 the client asks for IPv4 alone, so long at first, then for both.
  Duration ipv4_only_first = 10min;
};

enum class ClientState : uint8_t { Idle, Connecting, Connected, Reconnecting, Failed };
std::string_view to_string(ClientState state);

// Make a connection now.
struct Dial {
  uint64_t attempt = 0;
};
// Close the connection of on_dialed: it is of no use any more.
struct HangUp {};
struct ClientStateChanged {
  ClientState state = ClientState::Idle;
  std::string reason;   // empty for Connected
  unsigned status = 0;  // HTTP status of a refusal, else 0
};
struct AddressesChanged {
  std::vector<IpPrefix> addresses;  // the complete list
};
struct RoutesChanged {
  std::vector<IpPrefix> routes;   // the complete list of accepted ones, all protocols together
  std::vector<IpPrefix> refused;  // what the gateway advertised and our configuration does not take
};
struct MtuChanged {
  size_t mtu = 0;  // largest inner packet that fits now
};
// The path carries too little for IPv6: the tunnel goes on with IPv4 alone.
struct Ipv6Dropped {
  size_t mtu = 0;  // 1280 and more: QUIC's leg carries it, what lies behind does not
  Duration retry_after{};
};
// The gateway answers no pings: whether the tunnel carries IPv6 (RFC 9484 7.2) is not known.
struct Ipv6Unproven {};
using ClientEvent = std::variant<Dial, HangUp, ClientStateChanged, AddressesChanged, RoutesChanged,
                                 MtuChanged, Ipv6Dropped, Ipv6Unproven>;

class TunnelClient final : public RequestHandler {
 public:
  // The error is a sentence about the URI template, target or protocol (RFC 9484 3).
  static std::expected<std::unique_ptr<TunnelClient>, std::string> create(TunnelClientConfig config,
                                                                          Rng& rng);
  ~TunnelClient() override;

  // --- control; between begin_turn and flush ---
  void start();
  // Ends the request with FIN and goes to Idle; a HangUp event follows.
  void stop();
  // Links, addresses or routes of this host changed: dial at once instead of waiting for the
  // back-off, though not more often than every few seconds, and ask for IPv6 again.
  void on_network_changed();
  // The host has a connection (its handshake may still run), in answer to Dial.
  void on_dialed(HttpConnection& connection);
  // The dial failed, or the connection of on_dialed has ended, for any reason.
  void on_connection_lost(std::string_view reason);
  // Live changes, without reconnecting: what we advertise to the gateway, and what we take of its
  // routes.
  void set_site_subnets(const std::vector<IpPrefix>& subnets);
  void set_acceptance(RouteAcceptance acceptance);

  // --- a turn ---
  void begin_turn(Instant now, TransmitTarget& transmit, PacketSink& tun);
  // `packet.head` holds at least all IP headers.
  void on_tun_packet(const PacketSlices& packet);
  void flush();
  // False while the queue is filling: leave the packets in the TUN.
  bool wants_more() const;
  std::optional<Instant> next_timeout() const;
  void on_timeout(Instant now);
  std::optional<ClientEvent> poll_event();

  // --- state ---
  ClientState state() const;
  const std::string& last_error() const;
  std::string authority() const;  // of the URI template, for SNI and resolving
  std::vector<IpPrefix> addresses() const;
  std::vector<IpPrefix> routes() const;
  size_t mtu() const;
  uint64_t reconnects() const;
  std::optional<Instant> connected_since() const;
  TunnelCounters counters() const;  // of all sessions so far
  SessionFigures figures() const;   // of the present one

  // --- RequestHandler ---
  void on_settings(HttpConnection& connection) override;
  void on_response(HttpConnection& connection, StreamId stream, const HeaderFields& fields,
                   bool fin) override;
  void on_stream_data(HttpConnection& connection, StreamId stream, Bytes data) override;
  void on_stream_fin(HttpConnection& connection, StreamId stream) override;
  void on_stream_closed(HttpConnection& connection, StreamId stream, uint64_t error_code) override;
  void on_http_datagram(HttpConnection& connection, StreamId stream, Bytes payload) override;
  void on_goaway(HttpConnection& connection, StreamId first_unprocessed) override;
  void on_connection_gone(HttpConnection& connection) override;

 private:
  struct Impl;
  explicit TunnelClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace masque
