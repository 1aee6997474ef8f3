// SPDX-License-Identifier: Apache-2.0
// The server's side of one UDP socket: finds the connection of each datagram by its connection ID,
// creates connections, and answers what belongs to none: version negotiation, Retry, stateless
// reset (RFC 9000 5.2, 6, 8.1, 10.3). Unauthenticated traffic costs a fixed budget and never gets
// more than three times its bytes back.
//
// A new connection, step by step:
//   Initial -> version known? -> token? -> too many half-open: Retry -> QuicConnection +
//   application An Initial without the start of a ClientHello that spans two (post-quantum keys) is
//   kept aside, within a budget, and fed after the one that has it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/rng.h"
#include "base/time.h"
#include "core/quic/deadline_heap.h"
#include "core/quic/quic_connection.h"
#include "core/quic/used_tokens.h"

namespace masque {

// A connection with what it carries: Http3Connection, seen from the endpoint.
class EndpointConnection {
 public:
  virtual ~EndpointConnection() = default;
  virtual QuicConnection& quic() = 0;
  virtual void on_datagram(Instant now, const ReceivedDatagram& datagram) = 0;
  virtual QuicConnection::Flushed poll_transmit(Instant now, TransmitBatch& batch) = 0;
  virtual void on_timeout(Instant now) = 0;
  // Once: the peer has closed it, or it is about to be destroyed. Before the end of its draining
  // period only packets of the peer come in, which QuicConnection passes over.
  virtual void on_removed() = 0;
};

class ConnectionFactory {
 public:
  virtual ~ConnectionFactory() = default;
  virtual std::unique_ptr<EndpointConnection> create(std::unique_ptr<QuicConnection> quic) = 0;
};

enum class RetryPolicy : uint8_t { Auto, Always, Never };

class QuicServerEndpoint {
 public:
  struct Options {
    QuicSettings quic;
    std::array<uint8_t, 32>
        static_secret{};  // on disk, so that resets and tokens survive a restart
    RetryPolicy retry = RetryPolicy::Auto;
    size_t connections_max = 10'000;
    size_t half_open_before_retry = 64;  // Auto: from here on an address must be proven first
    size_t half_open_max = 1'024;
    size_t stateless_resets_per_second = 100;
    size_t held_initials_max = 64;
  };
  struct Counters {
    uint64_t datagrams = 0, malformed = 0, unknown_connection = 0;
    uint64_t connections_created = 0, connections_refused = 0;
    uint64_t version_negotiations = 0, retries = 0, bad_tokens = 0;
    uint64_t stateless_resets = 0, held_initials = 0;
  };

  QuicServerEndpoint(Options options, TlsContext& tls, Rng& rng, ConnectionFactory& factory);
  ~QuicServerEndpoint();

  void on_datagram(Instant now, const ReceivedDatagram& datagram);
  // Sends what the touched connections have; Full: send the batch and call again.
  QuicConnection::Flushed poll_transmit(Instant now, TransmitBatch& batch);
  std::optional<Instant> next_timeout() const;
  void on_timeout(Instant now);

  // New handshakes use it; live connections keep what they have (certificate rotation).
  void set_tls(TlsContext& tls) { tls_ = &tls; }
  void refuse_new_connections() { draining_ = true; }
  size_t connection_count() const { return live_; }
  bool idle() const { return live_ == 0; }
  void for_each(const std::function<void(EndpointConnection&)>& visit);
  const Counters& counters() const { return counters_; }

 private:
  struct Slot;
  struct HeldInitial {
    NetworkPath path;
    ConnectionId dcid;
    Ecn ecn = Ecn::NotEct;
    std::vector<uint8_t> bytes;
    Instant until;
  };
  struct Token {
    ServerStart::Token kind = ServerStart::Token::None;
    std::optional<ConnectionId> original_dcid;
    bool invalid_retry = false;
  };

  void on_new_connection(Instant now, const ReceivedDatagram& datagram);
  Token check_token(Instant now, const NetworkPath& path, uint32_t version,
                    const ConnectionId& dcid, Bytes token);
  void create_connection(Instant now, const ReceivedDatagram& datagram, ServerStart start);
  void feed_held(Instant now, Slot& slot, const NetworkPath& path, const ConnectionId& dcid);
  void hold(Instant now, const ReceivedDatagram& datagram, const ConnectionId& dcid);
  void deliver(Instant now, Slot& slot, const ReceivedDatagram& datagram);
  void send_version_negotiation(const ReceivedDatagram& datagram, Bytes dcid, Bytes scid);
  void send_retry(Instant now, const ReceivedDatagram& datagram, uint32_t version,
                  const ConnectionId& dcid, const ConnectionId& scid);
  void send_invalid_token(const ReceivedDatagram& datagram, uint32_t version,
                          const ConnectionId& dcid, const ConnectionId& scid);
  void send_stateless_reset(Instant now, const ReceivedDatagram& datagram,
                            const ConnectionId& dcid);
  void queue_reply(const NetworkPath& path, Bytes bytes);
  void settle(Instant now, uint32_t index);
  void tell_removed(Slot& slot);
  void remove(uint32_t index);
  size_t half_open() const { return half_open_; }

  Options options_;
  TlsContext* tls_;
  Rng& rng_;
  ConnectionFactory& factory_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<uint32_t> free_slots_;
  std::unordered_map<ConnectionId, uint32_t> by_id_;
  DeadlineHeap deadlines_;
  std::vector<uint32_t> touched_;  // slots with something to send or a moved timer
  std::vector<HeldInitial> held_;
  struct Reply {
    NetworkPath path;
    std::vector<uint8_t> bytes;
  };
  std::vector<Reply> replies_;  // bounded, stateless answers of this turn
  size_t live_ = 0;
  size_t half_open_ = 0;
  UsedTokens used_tokens_;
  bool draining_ = false;
  Instant reset_window_{};
  size_t resets_in_window_ = 0;
  Counters counters_;
};

}  // namespace masque
