// SPDX-License-Identifier: Apache-2.0
#include "core/http/http3_adapter.h"

#include "core/quic/quic_connection.h"

namespace masque {

class Http3Adapter::Port final : public HttpConnection {
 public:
  explicit Port(Http3Connection& connection) : connection_(connection) {}

  std::optional<StreamId> open_request(Instant now, const HeaderFields& fields) override {
    return connection_.open_request(now, fields);
  }
  void respond(StreamId stream, const HeaderFields& fields, StreamEnd end) override {
    connection_.respond(stream, fields,
                        end == StreamEnd::Fin ? Http3Connection::StreamEnd::Fin
                                              : Http3Connection::StreamEnd::KeepOpen);
  }
  bool send_stream_data(StreamId stream, Bytes data) override {
    return connection_.send_stream_data(stream, data);
  }
  void finish_stream(StreamId stream) override { connection_.finish_stream(stream); }
  void abort_stream(StreamId stream, HttpError code) override {
    connection_.abort_stream(stream, code);
  }
  void send_goaway() override { connection_.send_goaway(); }
  void close(Instant now, HttpError code, std::string_view reason) override {
    connection_.close(now, code, reason);
  }
  void enable_datagrams(StreamId stream) override { connection_.enable_datagrams(stream); }
  SendResult send_packet(Instant now, StreamId stream, const PacketSlices& packet,
                         TransmitBatch& batch) override {
    return connection_.send_packet(now, stream, packet, batch);
  }
  size_t packet_size_max(StreamId stream) const override {
    return connection_.packet_size_max(stream);
  }
  bool usable() const override { return connection_.usable(); }
  std::string why_not() const override { return connection_.why_not(); }
  PeerCertificate peer_certificate() const override {
    return connection_.quic().peer_certificate();
  }

 private:
  Http3Connection& connection_;
};

Http3Adapter::Http3Adapter(RequestHandler& handler) : handler_(handler) {}
Http3Adapter::~Http3Adapter() = default;

HttpConnection& Http3Adapter::port(Http3Connection& connection) {
  if (last_connection_ == &connection) return *last_port_;
  auto& port = ports_[&connection];
  if (!port) port = std::make_unique<Port>(connection);
  last_connection_ = &connection;
  last_port_ = port.get();
  return *port;
}

void Http3Adapter::forget(Http3Connection& connection) {
  const auto found = ports_.find(&connection);
  if (found == ports_.end()) return;
  handler_.on_connection_gone(*found->second);
  ports_.erase(found);
  last_connection_ = nullptr;
  last_port_ = nullptr;
}

void Http3Adapter::on_settings(Http3Connection& connection) {
  handler_.on_settings(port(connection));
}
void Http3Adapter::on_request(Http3Connection& connection, StreamId stream,
                              const HeaderFields& fields, bool fin) {
  handler_.on_request(port(connection), stream, fields, fin);
}
void Http3Adapter::on_response(Http3Connection& connection, StreamId stream,
                               const HeaderFields& fields, bool fin) {
  handler_.on_response(port(connection), stream, fields, fin);
}
void Http3Adapter::on_stream_data(Http3Connection& connection, StreamId stream, Bytes data) {
  handler_.on_stream_data(port(connection), stream, data);
}
void Http3Adapter::on_stream_fin(Http3Connection& connection, StreamId stream) {
  handler_.on_stream_fin(port(connection), stream);
}
void Http3Adapter::on_stream_closed(Http3Connection& connection, StreamId stream,
                                    uint64_t error_code) {
  handler_.on_stream_closed(port(connection), stream, error_code);
}
void Http3Adapter::on_http_datagram(Http3Connection& connection, StreamId stream, Bytes payload) {
  handler_.on_http_datagram(port(connection), stream, payload);
}
void Http3Adapter::on_goaway(Http3Connection& connection, StreamId first_unprocessed) {
  handler_.on_goaway(port(connection), first_unprocessed);
}

}  // namespace masque
