// SPDX-License-Identifier: Apache-2.0
// What the client and server cores need of an HTTP connection, whatever its version:
// Http3Connection implements it, tests use a fake.
//
// What happens goes to a RequestHandler, called while packets are processed: handlers take notes
// and answer with the methods below; they never destroy the connection. send_packet must not be
// called for a connection from inside one of its own callbacks, because its QUIC engine is reading
// then.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/id.h"
#include "base/time.h"
#include "core/http/error.h"
#include "core/path/path_layer.h"
#include "core/path/path_offer.h"
#include "core/quic/datagram_batch.h"
#include "core/quic/tls.h"
#include "core/tunnel/datagram_channel.h"

namespace masque {

struct HeaderField {
  std::string name;  // lower case, as on the wire
  std::string value;
};
using HeaderFields = std::vector<HeaderField>;
// The value of the first field of that name; nullopt when there is none.
std::optional<std::string_view> find_field(const HeaderFields& fields, std::string_view name);

enum class StreamEnd : uint8_t { KeepOpen, Fin };

// How a connection ended, for whoever is told that it is gone.
struct ConnectionEnd {
  enum class By : uint8_t { Goodbye, Fault };  // Goodbye: the peer closed it without an error
  By by = By::Fault;
  std::string why;
};

class HttpConnection {
 public:
  virtual ~HttpConnection() = default;

  // --- requests ---
  // Client: sends an extended CONNECT header section; the stream stays open (no FIN).
  // nullopt: the peer's stream limit, a GOAWAY or missing settings forbid it.
  virtual std::optional<StreamId> open_request(Instant now, const HeaderFields& fields) = 0;
  // Server: answers; Fin ends the stream with the header section (refusals).
  virtual void respond(StreamId stream, const HeaderFields& fields, StreamEnd end) = 0;
  // Queues bytes of the data stream. False when the stream is gone or its bounded buffer is full.
  virtual bool send_stream_data(StreamId stream, Bytes data) = 0;
  // The same for as much of `data` as there is room for, in pieces; returns how much that was.
  size_t send_stream_data_that_fits(StreamId stream, Bytes data);
  virtual void finish_stream(StreamId stream) = 0;                 // FIN after what is queued
  virtual void abort_stream(StreamId stream, HttpError code) = 0;  // RESET_STREAM and STOP_SENDING
  // RFC 9114 5.2: first 2^62-4, so that requests under way are still answered by the handler; next
  // the real limit, from which on they are rejected; then nothing more.
  virtual void send_goaway() = 0;
  virtual void close(Instant now, HttpError code, std::string_view reason) = 0;

  // --- datagrams (RFC 9297 2.1) ---
  // Marks an open request stream as one with datagram semantics; datagrams of others abort them.
  // Those that came shortly before go to the handler at once.
  virtual void enable_datagrams(Instant now, StreamId stream) = 0;
  // Writes a DATAGRAM frame {quarter stream id, context 0, packet} straight into `batch`.
  virtual SendResult send_packet(Instant now, StreamId stream, const PacketSlices& packet,
                                 TrafficClass traffic_class, TransmitBatch& batch) = 0;
  virtual size_t packet_size_max(StreamId stream) const = 0;
  virtual SendingPace pace() const { return {}; }
  // Of the datagram that on_http_datagram is being called with; means nothing at other times.
  virtual DatagramOrigin datagram_origin() const { return {}; }

  // --- the path layer, see QuicConnection ---
  virtual std::optional<PathOffer> offer_path_layer(const PathSettings&) { return std::nullopt; }
  virtual bool start_path_layer(const PathSettings&, const PathOffer&) { return false; }
  virtual std::optional<PathFigures> path_figures(Instant) { return std::nullopt; }

  // --- state ---
  // Both SETTINGS are exchanged and allow what CONNECT-IP needs; why_not() explains the contrary.
  virtual bool usable() const = 0;
  virtual std::string why_not() const = 0;
  virtual ConnectionEnd end() const { return {}; }
  virtual PeerCertificate peer_certificate() const = 0;
  // The outer address of ours that the peer sends to; nullopt where that is not known.
  virtual std::optional<IpAddress> local_address() const { return std::nullopt; }
};

class RequestHandler {
 public:
  virtual ~RequestHandler() = default;
  // The peer's SETTINGS are in: extended CONNECT may be used if usable() says so.
  virtual void on_settings(HttpConnection&) {}
  // Server: a request's header section. `fin`: the client closed its side at once.
  virtual void on_request(HttpConnection&, StreamId, const HeaderFields&, bool /*fin*/) {}
  // Client: the final response (1xx are passed over).
  virtual void on_response(HttpConnection&, StreamId, const HeaderFields&, bool /*fin*/) {}
  // Bytes of the data stream: capsules after a 2xx (RFC 9297 3.1).
  virtual void on_stream_data(HttpConnection&, StreamId, Bytes) {}
  virtual void on_stream_fin(HttpConnection&, StreamId) {}
  // Reset, STOP_SENDING or end of both directions: the stream id is not valid any more.
  virtual void on_stream_closed(HttpConnection&, StreamId, uint64_t /*error_code*/) {}
  // The packet path: an HTTP Datagram payload (Context ID first) of an open request stream.
  virtual void on_http_datagram(HttpConnection&, StreamId, Bytes) {}
  virtual void on_goaway(HttpConnection&, StreamId /*first id not processed*/) {}
  // The peer has closed the connection, or the object is about to be destroyed: nothing more comes
  // of it, forget every reference to it.
  virtual void on_connection_gone(HttpConnection&) {}
};

}  // namespace masque
