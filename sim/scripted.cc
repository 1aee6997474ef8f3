// SPDX-License-Identifier: Apache-2.0
#include "sim/scripted.h"

#include <charconv>

namespace masque {

unsigned StreamRecord::status() const {
  const auto text = find_field(fields, ":status");
  unsigned out = 0;
  if (text) std::from_chars(text->data(), text->data() + text->size(), out);
  return out;
}

// ---- StreamRecorder ---------------------------------------------------------------------------

const StreamRecord* StreamRecorder::find(StreamId stream) const {
  const auto found = streams_.find(stream.value());
  return found == streams_.end() ? nullptr : &found->second;
}

void StreamRecorder::on_response(HttpConnection& connection, StreamId stream,
                                 const HeaderFields& fields, bool fin) {
  StreamRecord& record = streams_[stream.value()];
  record.fields = fields;
  record.fin = fin;
  if (record.status() / 100 == 2)
    connection.enable_datagrams(Instant{}, stream);  // all that came early
}

void StreamRecorder::on_stream_data(HttpConnection&, StreamId stream, Bytes data) {
  std::vector<uint8_t>& all = streams_[stream.value()].data;
  all.insert(all.end(), data.begin(), data.end());
}

void StreamRecorder::on_stream_closed(HttpConnection&, StreamId stream, uint64_t code) {
  streams_[stream.value()].closed = code;
}

void StreamRecorder::on_http_datagram(HttpConnection&, StreamId stream, Bytes payload) {
  streams_[stream.value()].datagrams.emplace_back(payload.begin(), payload.end());
}

// ---- ScriptedClient ---------------------------------------------------------------------------

ScriptedClient::ScriptedClient(World& world, Network& network, ClientNode::Options options,
                               std::unique_ptr<TlsContext> tls)
    : ClientNode(world, network, std::move(options), std::move(tls)) {}

ScriptedClient::~ScriptedClient() { kill(); }

void ScriptedClient::act(Action action) {
  actions_.push_back(std::move(action));
  schedule_turn();
}

void ScriptedClient::send_packet(StreamId stream, std::vector<uint8_t> packet) {
  act([this, stream, packet = std::move(packet)](Http3Connection& http, TransmitTarget& out) {
    static_cast<void>(http.send_packet(world().now(), stream, {.head = packet, .body = {}},
                                       TrafficClass::Bulk, out.batch()));
  });
}

void ScriptedClient::send_raw_datagram(std::vector<uint8_t> frame) {
  act([this, frame = std::move(frame)](Http3Connection& http, TransmitTarget& out) {
    static_cast<void>(
        http.quic().send_datagram(world().now(), frame, {}, TrafficClass::Bulk, out.batch()));
  });
}

void ScriptedClient::take_application_input(Instant) {
  for (const Action& action : std::exchange(actions_, {})) {
    if (connection() != nullptr) action(*connection(), target());
  }
}

// ---- ScriptedServer ---------------------------------------------------------------------------

ScriptedServer::ScriptedServer(World& world, Network& network, ServerNode::Options options,
                               std::unique_ptr<TlsContext> tls, OnRequest on_request)
    : ServerNode(world, network, std::move(options), std::move(tls)),
      on_request_(std::move(on_request)) {}

ScriptedServer::~ScriptedServer() { stop_endpoint(); }

void ScriptedServer::act(Action action) {
  actions_.push_back(std::move(action));
  schedule_turn();
}

void ScriptedServer::on_request(HttpConnection& connection, StreamId stream,
                                const HeaderFields& fields, bool) {
  ++requests_;
  newest_ = &connection;
  newest_stream_ = stream;
  streams_[stream.value()] = {.fields = fields};
  if (on_request_) on_request_(connection, stream, fields);
}

void ScriptedServer::on_connection_gone(HttpConnection& connection) {
  if (newest_ != &connection) return;
  newest_ = nullptr;
  newest_stream_.reset();
}

void ScriptedServer::take_application_input(Instant) {
  for (const Action& action : std::exchange(actions_, {})) {
    if (newest_ != nullptr) action(*newest_, target());
  }
}

// ---- words ------------------------------------------------------------------------------------

HeaderFields connect_ip_request(std::string_view authority, std::string_view path) {
  return {{":method", "CONNECT"},       {":protocol", "connect-ip"},
          {":scheme", "https"},         {":authority", std::string(authority)},
          {":path", std::string(path)}, {"capsule-protocol", "?1"}};
}

HeaderFields connect_ip_response() { return {{":status", "200"}, {"capsule-protocol", "?1"}}; }

std::vector<uint8_t> raw_capsule(uint64_t type, Bytes value) {
  ByteBuffer out;
  out.varint(type);
  out.varint(value.size());
  out.bytes(value);
  return out.take();
}

namespace {

constexpr uint64_t kAddressAssign = 0x01;  // RFC 9484 9.3
constexpr uint64_t kAddressRequest = 0x02;
constexpr uint64_t kRouteAdvertisement = 0x03;

std::vector<uint8_t> address_capsule(uint64_t type, const std::vector<RawAddress>& addresses) {
  ByteBuffer value;
  for (const RawAddress& address : addresses) {
    value.varint(address.request_id);
    value.u8(static_cast<uint8_t>(address.prefix.version()));
    value.bytes(address.prefix.address().bytes());
    value.u8(address.prefix.length());
  }
  return raw_capsule(type, value.view());
}

}  // namespace

std::vector<uint8_t> raw_address_assign(const std::vector<RawAddress>& addresses) {
  return address_capsule(kAddressAssign, addresses);
}

std::vector<uint8_t> raw_address_request(const std::vector<RawAddress>& addresses) {
  return address_capsule(kAddressRequest, addresses);
}

std::vector<uint8_t> raw_route_advertisement(const std::vector<IpRange>& ranges, uint8_t protocol) {
  ByteBuffer value;
  for (const IpRange& range : ranges) {
    value.u8(static_cast<uint8_t>(range.version()));
    value.bytes(range.first.bytes());
    value.bytes(range.last.bytes());
    value.u8(protocol);
  }
  return raw_capsule(kRouteAdvertisement, value.view());
}

}  // namespace masque
