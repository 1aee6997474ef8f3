// SPDX-License-Identifier: Apache-2.0
// One HTTP/3 connection (RFC 9114) with extended CONNECT (RFC 9220) and HTTP Datagrams (RFC 9297),
// either side, over one QuicConnection. nghttp3 does frames and QPACK; the rules of settings and
// datagrams and the mapping of errors are here.
//
// A turn: on_datagram for each of a batch, send_packet as wanted, then one poll_transmit.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/http/http_connection.h"
#include "core/quic/quic_connection.h"
#include "core/quic/server_endpoint.h"

namespace masque {

struct Http3Limits {
  size_t field_section_max = 16 * 1024;  // decoded header bytes of one section (QPACK bombs)
  size_t early_datagrams_max = 16;       // kept for streams that are not open yet, RFC 9297 2.1
  size_t stream_send_buffer_max = 256 * 1024;  // unacknowledged capsule bytes
};

class Http3Connection final : public HttpConnection, public EndpointConnection {
 public:
  enum class Role : uint8_t { Client, Server };

  Http3Connection(Role role, std::unique_ptr<QuicConnection> quic, RequestHandler& handler,
                  Http3Limits limits = {});
  ~Http3Connection() override;

  // --- the five verbs (EndpointConnection) ---
  void on_datagram(Instant now, const ReceivedDatagram& datagram) override;
  QuicConnection::Flushed poll_transmit(Instant now, TransmitBatch& batch) override;
  void on_timeout(Instant now) override;
  std::optional<Instant> next_timeout() const { return quic_->next_timeout(); }
  QuicConnection& quic() override { return *quic_; }
  void on_removed() override;

  // --- HttpConnection ---
  std::optional<StreamId> open_request(Instant now, const HeaderFields& fields) override;
  void respond(StreamId stream, const HeaderFields& fields, StreamEnd end) override;
  bool send_stream_data(StreamId stream, Bytes data) override;
  void finish_stream(StreamId stream) override;
  void abort_stream(StreamId stream, HttpError code) override;
  void send_goaway() override;
  void close(Instant now, HttpError code, std::string_view reason) override;
  void enable_datagrams(Instant now, StreamId stream) override;
  SendResult send_packet(Instant now, StreamId stream, const PacketSlices& packet,
                         TrafficClass traffic_class, TransmitBatch& batch) override;
  size_t packet_size_max(StreamId stream) const override;
  SendingPace pace() const override;
  DatagramOrigin datagram_origin() const override { return quic_->datagram_origin(); }
  std::optional<PathOffer> offer_path_layer(const PathSettings& settings) override {
    return quic_->offer_path_layer(settings);
  }
  bool start_path_layer(const PathSettings& settings, const PathOffer& peer) override {
    return quic_->start_path_layer(settings, peer);
  }
  std::optional<PathFigures> path_figures(Instant now) override { return quic_->path_figures(now); }
  bool usable() const override;
  std::string why_not() const override;
  ConnectionEnd end() const override;
  PeerCertificate peer_certificate() const override { return quic_->peer_certificate(); }
  std::optional<IpAddress> local_address() const override;

 private:
  struct Impl;
  std::unique_ptr<QuicConnection> quic_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace masque
