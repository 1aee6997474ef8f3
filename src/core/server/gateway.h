// SPDX-License-Identifier: Apache-2.0
// The gateway (the RFC's IP proxy): every CONNECT-IP session of a worker, over all its connections.
//
//   on_request -> Admission -> [Resolve event -> on_resolved] -> lease from AddressPool -> 200
//              -> ADDRESS_ASSIGN -> ROUTE_ADVERTISEMENT -> session up
//
// The path of a packet:
//   TUN     -> on_tun_packet    -> Router -> ConnectIpSession (checks, MTU) -> HttpConnection ->
//   batch network -> on_http_datagram -> ConnectIpSession (checks) -> policy -> TUN sink, or Router
//   -> another
//              session (TTL - 1, because no kernel stands between)
// Answers to the sender itself (ICMP errors, echo replies) are queued and leave with flush(),
// because its connection is still reading.
//
// A turn of the host's loop:
//   begin_turn(now, transmit, tun); feed received datagrams to the connections; on_tun_packet ...;
//   on_timeout(now) when next_timeout() has passed; flush(); poll_transmit of the connections;
//   poll_event.
//
// Identities: a session belongs to the name in the client's certificate or of its bearer token. The
// newest session of an identity wins; the older one is closed. RFC 9484 4, 7, 11.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/rng.h"
#include "base/time.h"
#include "core/http/http_connection.h"
#include "core/ip/address.h"
#include "core/path/path_settings.h"
#include "core/quic/transmit_target.h"
#include "core/server/address_pool.h"
#include "core/server/admission.h"
#include "core/server/policy.h"
#include "core/tunnel/counters.h"
#include "core/tunnel/mtu_probe_policy.h"
#include "core/tunnel/packet_sink.h"
#include "core/tunnel/release_queue.h"
#include "core/tunnel/session_figures.h"
#include "core/tunnel/traffic_classifier.h"

namespace masque {

struct GatewayConfig {
  std::string name = "masque-vpn";  // in Proxy-Status, RFC 9209
  std::string path_template = "/.well-known/masque/ip/{target}/{ipproto}/";
  enum class Authentication : uint8_t { Certificate, CertificateOrToken, Token };
  Authentication authentication = Authentication::Certificate;
  // SHA-256; injected, because the core has no cryptography of its own. Needed for tokens only.
  TokenHash (*hash_token)(Bytes token) = nullptr;

  std::vector<IpPrefix> pools;  // the gateway itself takes the first address of each
  LeaseKind lease_kind = LeaseKind::Sticky;
  Duration lease_time = 24h * 30;  // how long an absent identity keeps its addresses

  uint32_t sessions_max = 10'000;
  uint32_t sessions_per_connection_max = 4;
  uint32_t resolves_pending_max = 64;  // requests that wait for a name
  // Of one connection, and of one identity over all its connections.
  uint32_t resolves_per_client_max = 4;
  Duration resolve_timeout = 10s;
  uint32_t site_subnets_max = 64;  // accepted from one client
  // Per session, while its connection is blocked: twice what one read of the TUN can bring, so that
  // a single client is held back by the TUN instead of losing packets.
  size_t queue_bytes_max = 2 * 1024 * 1024;
  PathSettings resilience;
  ClassifierOptions classifier;
  ReleaseOptions release;
  MtuProbePolicy ipv6_probe = MtuProbePolicy::Measure;
  Duration ipv6_mtu_grace = 15s;
};

enum class SessionEnd : uint8_t {
  ClientClosed,   // FIN, or the connection closed without an error
  StreamAborted,  // reset by the client, or the connection ended
  ProtocolError,  // the client broke RFC 9297 or 9484
  MtuTooSmall,    // IPv6 cannot be carried, RFC 9484 7.2
  Replaced,       // the identity opened a newer session
  Revoked,        // disabled, deleted or its certificate was revoked
  Kicked,         // closed by the operator
  ShuttingDown,
};
std::string_view to_string(SessionEnd end);

struct SessionUp {
  uint64_t session = 0;  // unique in the life of this gateway
  std::string identity;
  std::vector<IpPrefix> addresses;
};
struct SessionDown {
  uint64_t session = 0;
  std::string identity;
  SessionEnd end = SessionEnd::ClientClosed;
  std::string detail;
};
// The client answers no pings: whether its tunnel carries IPv6 (RFC 9484 7.2) is not known.
struct SessionUnproven {
  uint64_t session = 0;
  std::string identity;
};
// The lease of an identity to be stored; no addresses: forget it. Leases that end with their
// session are not told.
struct LeaseChanged {
  std::string identity;
  std::vector<IpPrefix> addresses;
};
// What the kernel must route into the TUN besides the pools: site subnets and addresses outside
// pools.
struct KernelRoutesChanged {
  std::vector<IpPrefix> added;
  std::vector<IpPrefix> removed;
};
// Resolve `name` (A and AAAA) and call on_resolved with `ticket`.
struct ResolveName {
  uint64_t ticket = 0;
  std::string name;
};
struct RequestRefused {
  std::string identity;  // empty when unknown
  unsigned status = 0;
  std::string detail;
  Shortage shortage = Shortage::None;
};
// After shut_down(): every client has been told, nothing more is to be sent.
struct ShutDown {};
using GatewayEvent = std::variant<SessionUp, SessionDown, SessionUnproven, LeaseChanged,
                                  KernelRoutesChanged, ResolveName, RequestRefused, ShutDown>;

// One live session, for `status`.
struct SessionSnapshot {
  uint64_t session = 0;
  std::string identity;
  std::vector<IpPrefix> addresses;
  std::vector<IpPrefix> routes;        // advertised to the client
  std::vector<IpPrefix> site_subnets;  // advertised by the client and accepted
  size_t mtu = 0;                      // largest IP packet that fits now
  Instant since;
  TunnelCounters counters;
  SessionFigures figures;
  HttpConnection* connection = nullptr;  // for its path's statistics; valid until the next turn
};

struct GatewayCounters {
  uint64_t requests = 0;
  uint64_t requests_refused = 0;
  uint64_t sessions_opened = 0;
  uint64_t sessions_replaced = 0;
  uint64_t pool_exhausted = 0;
  uint64_t routes_refused = 0;       // advertised by clients without permission
  uint64_t assignments_refused = 0;  // ADDRESS_ASSIGN of clients: we take no addresses from them
  TunnelCounters packets;            // of all sessions, ended ones too
};

class Gateway final : public RequestHandler {
 public:
  Gateway(GatewayConfig config, Rng& rng, std::unique_ptr<const PolicySnapshot> policy);
  ~Gateway() override;

  // The first address of each pool: what the host puts on the TUN, with the pool's prefix length.
  std::vector<IpAddress> own_addresses() const;
  // A sticky lease from the database, before the first turn. False when it does not fit the pools.
  bool load_lease(std::string_view identity, const std::vector<IpPrefix>& addresses);

  // --- a turn ---
  // `transmit` and `tun` must outlive the turn, that is until the next begin_turn or end of life.
  void begin_turn(Instant now, TransmitTarget& transmit, PacketSink& tun);
  // `packet.head` holds at least all IP headers (the whole packet, or the rewritten headers of a
  // segment).
  void on_tun_packet(const PacketSlices& packet);
  // Sends what waits; call it once a turn, and before poll_transmit of the connections.
  void flush();
  // False while so much waits that the TUN had better keep its packets.
  bool wants_more() const;
  std::optional<Instant> next_timeout() const;
  void on_timeout(Instant now);
  std::optional<GatewayEvent> poll_event();

  // --- control; all of it between begin_turn and flush ---
  // Sessions whose identity is not allowed any more are closed at once; routes of others are
  // advertised anew when they changed.
  void set_policy(std::unique_ptr<const PolicySnapshot> policy);
  // Closes the identity's sessions at once and forgets its lease; returns how many sessions.
  size_t revoke(std::string_view identity);
  // Closes the identity's sessions; it may come back.
  size_t kick(std::string_view identity);
  // Changes live sessions by capsule, without reconnecting: each list replaces what the session has
  // of the IP versions that it names; an empty list of routes withdraws all. The error is a
  // sentence for the operator.
  struct SessionChange {
    std::optional<std::vector<IpPrefix>> addresses;
    std::optional<std::vector<IpPrefix>> routes;
  };
  std::expected<size_t, std::string> set_session(std::string_view identity,
                                                 const SessionChange& change);
  // Answer to ResolveName; no addresses: the name does not resolve.
  void on_resolved(uint64_t ticket, const std::vector<IpAddress>& addresses);
  // The planned end, in three steps with time between for each to arrive (gateway_shutdown.cc); the
  // ShutDown event follows the last. Called again, or without a client, it takes the last one at
  // once.
  void shut_down();
  static constexpr Duration kShutdownStep = 100ms;

  // --- state ---
  std::vector<SessionSnapshot> sessions() const;
  size_t session_count() const;
  GatewayCounters counters() const;

  // --- RequestHandler ---
  void on_settings(HttpConnection& connection) override;
  void on_request(HttpConnection& connection, StreamId stream, const HeaderFields& fields,
                  bool fin) override;
  void on_stream_data(HttpConnection& connection, StreamId stream, Bytes data) override;
  void on_stream_fin(HttpConnection& connection, StreamId stream) override;
  void on_stream_closed(HttpConnection& connection, StreamId stream, uint64_t error_code) override;
  void on_http_datagram(HttpConnection& connection, StreamId stream, Bytes payload) override;
  void on_connection_gone(HttpConnection& connection) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace masque
