// SPDX-License-Identifier: Apache-2.0
// What the client and server cores need of an HTTP connection, whatever its version. Http3Adapter
// implements it over Http3Connection (core/http/http3_adapter.h); tests use a fake.
//
// RequestHandler mirrors ConnectionHandler: handlers take notes and answer with the methods below; they
// never destroy the connection. send_packet must not be called for a connection from inside one of its
// own callbacks, because its QUIC engine is reading then.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/id.h"
#include "base/time.h"
#include "core/http/error.h"
#include "core/http/http3_connection.h"
#include "core/quic/datagram_batch.h"
#include "core/quic/tls.h"
#include "core/tunnel/datagram_channel.h"

namespace masque {

enum class StreamEnd : uint8_t { KeepOpen, Fin };

class HttpConnection {
 public:
  virtual ~HttpConnection() = default;

  virtual std::optional<StreamId> open_request(Instant now, const HeaderFields& fields) = 0;
  virtual void respond(StreamId stream, const HeaderFields& fields, StreamEnd end) = 0;
  virtual bool send_stream_data(StreamId stream, Bytes data) = 0;
  virtual void finish_stream(StreamId stream) = 0;
  virtual void abort_stream(StreamId stream, HttpError code) = 0;
  virtual void send_goaway() = 0;
  virtual void close(Instant now, HttpError code, std::string_view reason) = 0;

  virtual void enable_datagrams(StreamId stream) = 0;
  virtual SendResult send_packet(Instant now, StreamId stream, const PacketSlices& packet,
                                 TransmitBatch& batch) = 0;
  virtual size_t packet_size_max(StreamId stream) const = 0;

  virtual bool usable() const = 0;
  virtual std::string why_not() const = 0;
  virtual PeerCertificate peer_certificate() const = 0;
};

class RequestHandler {
 public:
  virtual ~RequestHandler() = default;
  virtual void on_settings(HttpConnection&) {}
  virtual void on_request(HttpConnection&, StreamId, const HeaderFields&, bool /*fin*/) {}
  virtual void on_response(HttpConnection&, StreamId, const HeaderFields&, bool /*fin*/) {}
  virtual void on_stream_data(HttpConnection&, StreamId, Bytes) {}
  virtual void on_stream_fin(HttpConnection&, StreamId) {}
  virtual void on_stream_closed(HttpConnection&, StreamId, uint64_t /*error_code*/) {}
  virtual void on_http_datagram(HttpConnection&, StreamId, Bytes) {}
  virtual void on_goaway(HttpConnection&, StreamId) {}
  // The connection object is about to be destroyed: forget every reference to it.
  virtual void on_connection_gone(HttpConnection&) {}
};

}  // namespace masque
