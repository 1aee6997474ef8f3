// SPDX-License-Identifier: Apache-2.0
// One QUIC connection (RFC 9000, 9001, 9002, 9221) over ngtcp2, either side, without I/O.
//
//   on_datagram  ->  read packets, calls the application (streams, datagrams)
//   poll_transmit -> handshake, acknowledgements, streams, probes; datagrams go out by
//   send_datagram next_timeout / on_timeout -> loss detection, pacing, idle, keep-alive, closing
//   period
//
//   Handshaking --handshake--> Open --close()/error--> Closing --3 PTO--> Dead
//        |                       |---peer's close----> Draining --3 PTO--> Dead
//        +---timeout, idle, stateless reset: Dead at once
//
// A turn of the host: every datagram of the received batch, then one poll_transmit: one
// acknowledgement per batch. Pacing and congestion control answer SendResult::Blocked; next_timeout
// says when to retry.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/rng.h"
#include "base/time.h"
#include "core/ip/socket_address.h"
#include "core/path/path_layer.h"
#include "core/path/path_offer.h"
#include "core/quic/connection_id.h"
#include "core/quic/datagram_batch.h"
#include "core/quic/quic_application.h"
#include "core/quic/tls.h"
#include "core/tunnel/datagram_channel.h"

namespace masque {

enum class CongestionControl : uint8_t { Cubic, Bbr, Reno };

struct QuicSettings {
  CongestionControl congestion_control = CongestionControl::Cubic;
  Duration idle_timeout = 30s;  // both ends' minimum counts, RFC 9000 10.1
  Duration keep_alive = 20s;    // zero: none; middleboxes forget UDP flows after 30 s
  Duration handshake_timeout = 10s;
  size_t udp_payload_max = 1472;  // upper end of the path MTU search
  uint64_t stream_window = 256 * 1024;
  uint64_t connection_window = 1024 * 1024;
  // Wanted: a path layer will be offered or taken up. Until it carries the connection packets are
  // repeated (packet_repeater.h).
  enum class PathLayerUse : uint8_t { None, Wanted } path_layer = PathLayerUse::None;
  uint64_t request_streams_max = 100;  // RFC 9114 6.1: a server should allow at least 100
};

constexpr QuicSettings::PathLayerUse path_layer_use(ResilienceMode mode) {
  using enum QuicSettings::PathLayerUse;
  return mode == ResilienceMode::Off ? None : Wanted;
}

// What goes first while both wait for the congestion window (RFC 9221 5). Streams carry capsules,
// which say what the datagrams mean, and are small: first, unless the owner says otherwise.
enum class SendPriority : uint8_t { StreamsFirst, DatagramsFirst };

// Who ended the connection and why, for logs, status and exit codes.
struct CloseReason {
  enum class Cause : uint8_t {
    Local,
    Peer,
    IdleTimeout,
    HandshakeTimeout,
    StatelessReset,
    VersionNegotiation,
    Tls,
    Transport,
  };
  Cause cause = Cause::Local;
  bool application = false;  // `code` is an HTTP/3 error, not a transport error
  uint64_t code = 0;
  std::string text;
  CertificateFault certificate = CertificateFault::None;  // of Cause::Tls
};

struct QuicStats {
  Duration smoothed_rtt{};
  Duration min_rtt{};
  Duration latest_rtt{};
  uint64_t congestion_window = 0;
  uint64_t bytes_in_flight = 0;
  uint64_t packets_sent = 0, packets_received = 0, packets_lost = 0;
  uint64_t bytes_sent = 0, bytes_received = 0;
  size_t udp_payload_max = 0;
};

// The endpoint's table of connection IDs.
class ConnectionIdRegistry {
 public:
  virtual ~ConnectionIdRegistry() = default;
  virtual void add_connection_id(const ConnectionId& id) = 0;
  virtual void remove_connection_id(const ConnectionId& id) = 0;
};

struct ClientStart {
  NetworkPath path;
  std::string token;  // of an earlier NEW_TOKEN, may be empty
};

// What the endpoint learned from the first Initial of a connection.
struct ServerStart {
  NetworkPath path;
  uint32_t version = 0;
  ConnectionId client_chosen_dcid;  // of this packet
  ConnectionId client_scid;
  std::optional<ConnectionId> original_dcid;  // after a Retry: that of the first Initial
  enum class Token : uint8_t { None, Retry, Regular } token_kind = Token::None;
  std::vector<uint8_t> token;
  std::array<uint8_t, 32> static_secret{};  // stateless reset and NEW_TOKEN tokens
};

class QuicConnection {
 public:
  ~QuicConnection();
  QuicConnection(const QuicConnection&) = delete;
  QuicConnection& operator=(const QuicConnection&) = delete;

  // Null when the library refuses the settings (ours to mend, not the peer's).
  static std::unique_ptr<QuicConnection> create_client(Instant now, const QuicSettings&,
                                                       TlsContext&, Rng&, const ClientStart&);
  static std::unique_ptr<QuicConnection> create_server(Instant now, const QuicSettings&,
                                                       TlsContext&, Rng&, const ServerStart&);
  void set_application(QuicApplication* application);
  // Server: every connection ID issued or retired is told; the current ones at once.
  void set_registry(ConnectionIdRegistry* registry);
  // Called at most once between two poll_transmit, when there may be something to send or a new
  // timeout.
  void set_wake(std::move_only_function<void()> wake);
  // Also said by the application when its streams have something to send.
  void wake();
  void set_priority(SendPriority priority);

  // Server only: Discard the connection silently, or because the first Initial did not hold the
  // start of the ClientHello (keep the packet aside, or answer with Retry).
  enum class ReadResult : uint8_t { Ok, Discard, IncompleteInitial };
  ReadResult on_datagram(Instant now, const ReceivedDatagram& datagram);
  // Full: the batch has no room left; send it and call again.
  enum class Flushed : uint8_t { All, Full };
  Flushed poll_transmit(Instant now, TransmitBatch& batch);
  std::optional<Instant> next_timeout() const;
  void on_timeout(Instant now);

  std::optional<StreamId> open_bidirectional_stream();
  std::optional<StreamId> open_unidirectional_stream();
  void consume_stream_data(StreamId stream, size_t bytes);    // gives flow-control credit back
  void shutdown_stream(StreamId stream, uint64_t code);       // RESET_STREAM and STOP_SENDING
  void shutdown_stream_read(StreamId stream, uint64_t code);  // STOP_SENDING

  // One DATAGRAM frame of `prefix` + packet, written into the batch at once.
  SendResult send_datagram(Instant now, Bytes prefix, const PacketSlices& packet,
                           TrafficClass traffic_class, TransmitBatch& batch);
  // The payload of the padded datagrams that look for the path's limit: one that means nothing to
  // the peer, so that the search takes nobody's packet with it. Empty: no search.
  void set_probe_frame(Bytes frame);
  // Largest DATAGRAM frame payload on the current path; 0 when the peer takes none.
  size_t datagram_size_max() const;
  bool datagrams_negotiated() const;

  // --- the path layer (core/path), when both ends have agreed on it ---
  // What to tell the peer; from now on its path packets are read. nullopt: not possible (before the
  // handshake is complete, for instance).
  std::optional<PathOffer> offer_path_layer(const PathSettings& settings);
  // From now on path packets are written, too: the peer has made an offer, so it reads them.
  // False: not possible.
  bool start_path_layer(const PathSettings& settings, const PathOffer& peer);
  std::optional<PathFigures> path_figures(Instant now);
  // Of the packet being read, inside QuicApplication::on_datagram.
  DatagramOrigin datagram_origin() const;

  // Queues CONNECTION_CLOSE; poll_transmit sends it.
  void close_application(uint64_t code, std::string_view reason);
  void initiate_key_update(Instant now);

  bool handshake_completed() const;
  bool handshake_confirmed() const;
  bool closing() const;   // close queued, closing, draining or dead
  bool draining() const;  // closed by the peer
  bool dead() const;      // nothing left to send or wait for
  const std::optional<CloseReason>& close_reason() const;
  PeerCertificate peer_certificate() const;
  std::string cipher() const;
  bool export_key(std::string_view label, MutableBytes out) const;
  NetworkPath path() const;
  // Client: the newest NEW_TOKEN of the server, for the next connection; empty: none came.
  const std::string& new_token() const;
  QuicStats stats() const;
  SendingPace pace() const;

  struct Impl;

 private:
  explicit QuicConnection(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace masque
