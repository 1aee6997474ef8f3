// SPDX-License-Identifier: Apache-2.0
// One HTTP/3 connection (RFC 9114) with extended CONNECT (RFC 9220) and HTTP Datagrams (RFC 9297),
// either side, over one QuicConnection. nghttp3 does frames and QPACK; settings rules, datagram rules
// and the mapping of our errors are here.
//
// What happens goes to a ConnectionHandler, called while packets are processed: handlers take notes
// and answer with the methods below; they never re-enter on_datagram or destroy the connection.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/id.h"
#include "base/time.h"
#include "core/http/error.h"
#include "core/ip/socket_address.h"
#include "core/quic/quic_connection.h"
#include "core/tunnel/datagram_channel.h"

namespace masque {

struct HeaderField {
  std::string name;   // lower case, as on the wire
  std::string value;
};
using HeaderFields = std::vector<HeaderField>;
// The value of the first field of that name; nullopt when there is none.
std::optional<std::string_view> find_field(const HeaderFields& fields, std::string_view name);

class Http3Connection;

class ConnectionHandler {
 public:
  virtual ~ConnectionHandler() = default;
  // The peer's SETTINGS are in: extended CONNECT may be used if `usable()` says so.
  virtual void on_settings(Http3Connection&) {}
  // Server: a request's header section. `fin`: the client closed its side at once.
  virtual void on_request(Http3Connection&, StreamId, const HeaderFields&, bool /*fin*/) {}
  // Client: the final response (1xx are passed over).
  virtual void on_response(Http3Connection&, StreamId, const HeaderFields&, bool /*fin*/) {}
  // Bytes of the data stream: capsules after a 2xx (RFC 9297 3.1).
  virtual void on_stream_data(Http3Connection&, StreamId, Bytes) {}
  virtual void on_stream_fin(Http3Connection&, StreamId) {}
  // Reset, STOP_SENDING or end of the connection: the stream id is not valid any more.
  virtual void on_stream_closed(Http3Connection&, StreamId, uint64_t /*error_code*/) {}
  // The packet path: an HTTP Datagram payload (Context ID first) of an open request stream.
  virtual void on_http_datagram(Http3Connection&, StreamId, Bytes) {}
  virtual void on_goaway(Http3Connection&, StreamId /*first id not processed*/) {}
};

class Http3Connection final {
 public:
  enum class Role : uint8_t { Client, Server };
  struct Limits {
    size_t field_section_max = 16 * 1024;  // decoded header bytes of one section (QPACK bombs)
    size_t early_datagrams_max = 16;       // kept for a stream that is not open yet, RFC 9297 2.1
    size_t stream_send_buffer_max = 256 * 1024;
  };

  Http3Connection(Role role, std::unique_ptr<QuicConnection> quic, ConnectionHandler& handler, Limits limits);
  ~Http3Connection();

  // --- the five verbs ---
  void on_datagram(Instant now, const ReceivedDatagram& datagram);
  // Once after a batch of on_datagram calls, and after other calls that may have queued output.
  void poll_transmit(Instant now, TransmitBatch& batch);
  std::optional<Instant> next_timeout() const;
  void on_timeout(Instant now);

  // --- requests ---
  // Client: sends an extended CONNECT header section; the stream stays open (no FIN).
  // nullopt: the peer's stream limit, a GOAWAY or missing settings forbid it.
  std::optional<StreamId> open_request(Instant now, const HeaderFields& fields);
  // Server: answers. `fin` ends the stream with the header section (refusals).
  enum class StreamEnd : uint8_t { KeepOpen, Fin };
  void respond(StreamId stream, const HeaderFields& fields, StreamEnd end);
  // Queues bytes of the data stream. False when the stream is gone or its bounded buffer is full.
  bool send_stream_data(StreamId stream, Bytes data);
  void finish_stream(StreamId stream);                       // FIN after what is queued
  void abort_stream(StreamId stream, HttpError code);        // RESET_STREAM and STOP_SENDING
  void send_goaway();                                        // first 2^62-4, next the real id (RFC 9114 5.2)

  // --- datagrams (RFC 9297 2.1) ---
  // Marks an open request stream as one with datagram semantics; datagrams of others abort them.
  void enable_datagrams(StreamId stream);
  // Writes a DATAGRAM frame {quarter stream id, context 0, packet} straight into `batch`.
  SendResult send_packet(Instant now, StreamId stream, const PacketSlices& packet, TransmitBatch& batch);
  size_t packet_size_max(StreamId stream) const;

  // --- state ---
  // Both SETTINGS are exchanged and allow what CONNECT-IP needs; `why_not` explains the contrary.
  bool usable() const;
  std::string why_not() const;
  void close(Instant now, HttpError code, std::string_view reason);
  bool closed() const;  // closing, draining or dead: only the transmit side still matters
  QuicConnection& quic() { return *quic_; }
  const QuicConnection& quic() const { return *quic_; }

 private:
  struct Impl;
  std::unique_ptr<QuicConnection> quic_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace masque
