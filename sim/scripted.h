// SPDX-License-Identifier: Apache-2.0
// Peers that follow a script instead of our cores: they say legal things in unusual order, or
// things that no honest peer says. Both are whole QUIC and HTTP/3 ends; only what lies above is
// written by the scenario.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sim/node.h"

namespace masque {

// What has happened on one request stream.
struct StreamRecord {
  HeaderFields fields;  // the response (client) or the request (server)
  std::vector<uint8_t> data;
  std::vector<std::vector<uint8_t>> datagrams;
  bool fin = false;
  std::optional<uint64_t> closed;  // the error code
  unsigned status() const;
};

class StreamRecorder : public RequestHandler {
 public:
  const std::map<uint64_t, StreamRecord>& streams() const { return streams_; }
  const StreamRecord* find(StreamId stream) const;
  bool settings_received() const { return settings_; }
  const std::vector<uint64_t>& goaways() const { return goaways_; }

  void on_settings(HttpConnection&) override { settings_ = true; }
  void on_response(HttpConnection& connection, StreamId stream, const HeaderFields& fields,
                   bool fin) override;
  void on_stream_data(HttpConnection&, StreamId stream, Bytes data) override;
  void on_stream_fin(HttpConnection&, StreamId stream) override {
    streams_[stream.value()].fin = true;
  }
  void on_stream_closed(HttpConnection&, StreamId stream, uint64_t code) override;
  void on_http_datagram(HttpConnection&, StreamId stream, Bytes payload) override;
  void on_goaway(HttpConnection&, StreamId first) override { goaways_.push_back(first.value()); }

 protected:
  std::map<uint64_t, StreamRecord> streams_;  // by stream id; of the newest connection
  bool settings_ = false;
  std::vector<uint64_t> goaways_;
};

class ScriptedClient final : public ClientNode, private StreamRecorder {
 public:
  ScriptedClient(World& world, Network& network, ClientNode::Options options,
                 std::unique_ptr<TlsContext> tls);
  ~ScriptedClient() override;

  // Runs inside the next turn, with the live connection; left out when there is none.
  using Action = std::function<void(Http3Connection& connection, TransmitTarget& target)>;
  void act(Action action);
  // An HTTP Datagram with Context ID 0 on that stream.
  void send_packet(StreamId stream, std::vector<uint8_t> packet);
  // A DATAGRAM frame of exactly these bytes.
  void send_raw_datagram(std::vector<uint8_t> frame);

  const StreamRecorder& record() const { return *this; }
  bool ready() { return connection() != nullptr && settings_received() && connection()->usable(); }

 private:
  RequestHandler& handler() override { return *this; }
  void take_application_input(Instant now) override;

  std::vector<Action> actions_;
};

class ScriptedServer final : public ServerNode, private StreamRecorder {
 public:
  using OnRequest =
      std::function<void(HttpConnection& connection, StreamId stream, const HeaderFields& fields)>;

  ScriptedServer(World& world, Network& network, ServerNode::Options options,
                 std::unique_ptr<TlsContext> tls, OnRequest on_request);
  ~ScriptedServer() override;

  using Action = std::function<void(HttpConnection& connection, TransmitTarget& target)>;
  // Inside the next turn, on the connection of the newest request.
  void act(Action action);
  const StreamRecorder& record() const { return *this; }
  std::optional<StreamId> newest_stream() const { return newest_stream_; }
  uint64_t requests() const { return requests_; }

 private:
  RequestHandler& handler() override { return *this; }
  void on_request(HttpConnection& connection, StreamId stream, const HeaderFields& fields,
                  bool fin) override;
  void on_connection_gone(HttpConnection& connection) override;
  void take_application_input(Instant now) override;

  OnRequest on_request_;
  std::vector<Action> actions_;
  HttpConnection* newest_ = nullptr;
  std::optional<StreamId> newest_stream_;
  uint64_t requests_ = 0;
};

// The header section of a CONNECT-IP request (RFC 9484 4.1).
HeaderFields connect_ip_request(std::string_view authority,
                                std::string_view path = "/.well-known/masque/ip/*/*/");
// 200 with Capsule-Protocol.
HeaderFields connect_ip_response();

// Capsules byte by byte (RFC 9297 3.2), so that the script's mistakes are not the encoder's.
std::vector<uint8_t> raw_capsule(uint64_t type, Bytes value);
struct RawAddress {
  uint64_t request_id = 0;
  IpPrefix prefix;
};
std::vector<uint8_t> raw_address_assign(const std::vector<RawAddress>& addresses);
std::vector<uint8_t> raw_address_request(const std::vector<RawAddress>& addresses);
std::vector<uint8_t> raw_route_advertisement(const std::vector<IpRange>& ranges,
                                             uint8_t protocol = 0);

}  // namespace masque
