// SPDX-License-Identifier: Apache-2.0
// An HttpConnection for the tests of core/client and core/server: it writes down what it is told.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/http/http_connection.h"
#include "core/quic/transmit_target.h"

namespace masque::test {

struct FakeTransmit final : TransmitTarget {
  TransmitBatch& batch() override { return own_batch; }
  void flush() override {
    ++flushes;
    own_batch.clear();
  }
  TransmitBatch own_batch;
  int flushes = 0;
};

struct FakeHttpConnection final : HttpConnection {
  struct Stream {
    HeaderFields request;   // client: what it opened
    HeaderFields response;  // server: what it answered
    bool fin = false;
    std::optional<HttpError> aborted;
    bool datagrams = false;
    std::vector<uint8_t> data;
    std::vector<std::vector<uint8_t>> packets;
    std::vector<TrafficClass> classes;  // of each packet
  };

  std::optional<StreamId> open_request(Instant, const HeaderFields& fields) override {
    if (!accepts_requests) return std::nullopt;
    const StreamId id(next_stream);
    next_stream += 4;
    streams[id].request = fields;
    return id;
  }
  void respond(StreamId stream, const HeaderFields& fields, StreamEnd end) override {
    streams[stream].response = fields;
    streams[stream].fin = end == StreamEnd::Fin;
  }
  bool send_stream_data(StreamId stream, Bytes data) override {
    if (buffer_full || data.size() > buffer_room) return false;
    buffer_room -= data.size();
    auto& out = streams[stream].data;
    out.insert(out.end(), data.begin(), data.end());
    return true;
  }
  void finish_stream(StreamId stream) override { streams[stream].fin = true; }
  void abort_stream(StreamId stream, HttpError code) override { streams[stream].aborted = code; }
  void send_goaway() override { ++goaways; }
  void close(Instant, HttpError code, std::string_view reason) override {
    closed = code;
    close_reason = reason;
  }
  void enable_datagrams(Instant, StreamId stream) override { streams[stream].datagrams = true; }
  SendResult send_packet(Instant, StreamId stream, const PacketSlices& packet,
                         TrafficClass traffic_class, TransmitBatch& batch) override {
    if (batch.room().empty()) return SendResult::Blocked;
    if (blocked) return SendResult::Blocked;
    if (packet.size() > limit) return SendResult::TooLarge;
    if (fill_batch) batch.commit({}, Ecn::NotEct, batch.room().size());
    std::vector<uint8_t> whole(packet.head.begin(), packet.head.end());
    whole.insert(whole.end(), packet.body.begin(), packet.body.end());
    streams[stream].packets.push_back(std::move(whole));
    streams[stream].classes.push_back(traffic_class);
    return SendResult::Sent;
  }
  size_t packet_size_max(StreamId) const override { return limit; }
  DatagramOrigin datagram_origin() const override { return origin; }
  std::optional<IpAddress> local_address() const override { return local; }
  bool usable() const override { return is_usable; }
  std::string why_not() const override { return "no extended CONNECT"; }
  ConnectionEnd end() const override { return ended; }
  PeerCertificate peer_certificate() const override { return certificate; }

  std::string status(StreamId stream) {
    return std::string(find_field(streams[stream].response, ":status").value_or(""));
  }
  std::string response(StreamId stream, std::string_view name) {
    return std::string(find_field(streams[stream].response, name).value_or(""));
  }

  PeerCertificate certificate;
  std::optional<IpAddress> local;
  DatagramOrigin origin;  // of what the test hands to on_http_datagram
  std::map<StreamId, Stream> streams;
  uint64_t next_stream = 0;
  size_t limit = 1400;
  bool accepts_requests = true;
  bool buffer_full = false;
  size_t buffer_room = SIZE_MAX;  // taken before the buffer is full
  bool blocked = false;
  bool fill_batch = false;
  bool is_usable = true;
  int goaways = 0;
  std::optional<HttpError> closed;
  std::string close_reason;
  ConnectionEnd ended;
};

}  // namespace masque::test
