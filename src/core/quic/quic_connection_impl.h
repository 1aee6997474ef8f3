// SPDX-License-Identifier: Apache-2.0
// The inside of QuicConnection, shared by quic_connection.cc (verbs) and quic_callbacks.cc (what
// ngtcp2 calls). Nobody else includes it.
#pragma once

#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>

#include "core/quic/address_credit.h"
#include "core/quic/ngtcp2_address.h"
#include "core/quic/packet_repeater.h"
#include "core/quic/path_mtu_guard.h"
#include "core/quic/quic_connection.h"
#include "core/quic/stall_detector.h"

namespace masque {

struct QuicConnection::Impl final : public QuicPacketSink {
  enum class Role : uint8_t { Client, Server };
  enum class State : uint8_t { Handshaking, Open, Closing, Draining, Dead };

  Impl(Role role_in, const QuicSettings& settings_in, TlsContext& tls_in, Rng& rng_in)
      : role(role_in), settings(settings_in), tls(tls_in.new_session()), rng(rng_in) {}
  ~Impl() override {
    if (connection != nullptr) ngtcp2_conn_del(connection);
  }

  // quic_callbacks.cc
  ngtcp2_callbacks callbacks();
  ngtcp2_settings ngtcp2_settings_for(Instant now, const NetworkPath& path) const;
  ngtcp2_transport_params transport_parameters() const;
  void offer_new_token(const ngtcp2_addr& remote);

  // quic_connection.cc
  bool start();  // after `connection` exists
  void fail(int library_error);
  void queue_close(CloseReason reason);
  void enter_closing(Instant now, State next);
  // quic_path.cc
  void on_quic_packet(Instant now, const PathArrival& arrival, const DatagramOrigin& origin_in,
                      MutableBytes packet) override;
  void add_path_id(const ConnectionId& id);
  void remove_path_id(const ConnectionId& id);
  bool unanswered(Instant now) const;
  size_t headroom() const { return path_writes ? kPathHeaderSize : 0; }
  size_t wrap(TransmitBatch& batch, size_t length, Instant now);
  Flushed write_path_packets(Instant now, TransmitBatch& batch);
  void repeat_later(Instant now, Bytes packet);
  Flushed write_repeated(Instant now, TransmitBatch& batch);
  size_t payload_limit() const;

  ReadResult read(Instant now, const NetworkPath& network_path, Ecn ecn, MutableBytes packet);
  Flushed write_close(Instant now, TransmitBatch& batch);
  Flushed write_packets(Instant now, TransmitBatch& batch);
  // Asked for a packet while there is nothing for it, ngtcp2 notes that the application sets the
  // pace, and the congestion window stops growing: not to be done while a datagram waits.
  enum class WhenNoStream : uint8_t { AskLibrary, Return };
  Flushed write_waiting(Instant now, TransmitBatch& batch, WhenNoStream when_no_stream);
  void commit(TransmitBatch& batch, size_t length, const ngtcp2_pkt_info& info, Instant now);
  void end_burst(Instant now);
  bool rtt_is_stale() const;
  void wake();
  // Where the next packet goes: as much of the batch's room as the path carries.
  MutableBytes packet_room(TransmitBatch& batch);
  void probe_path_mtu(Instant now, TransmitBatch& batch);
  std::optional<Instant> next_probe() const;
  bool window_full() const;
  bool stalled(Instant now);
  SendResult refuse(Instant now);
  // One packet, with the datagram if there was room for it; > 0: its size.
  struct Datagram {
    std::span<const ngtcp2_vec> pieces;
    uint32_t flags = 0;
    uint64_t id = 0;  // the size of its packet, told back when it is acknowledged or lost
  };
  ngtcp2_ssize write_datagram(Instant now, const Datagram& datagram, MutableBytes room,
                              ngtcp2_pkt_info& info, bool& accepted);
  Duration pto() const { return Duration(static_cast<int64_t>(ngtcp2_conn_get_pto(connection))); }

  Role role;
  State state = State::Handshaking;
  QuicSettings settings;
  std::unique_ptr<TlsSession> tls;
  Rng& rng;
  ngtcp2_conn* connection = nullptr;
  ngtcp2_crypto_conn_ref reference{};
  QuicApplication* application = nullptr;
  ConnectionIdRegistry* registry = nullptr;
  std::move_only_function<void()> wake_function;
  bool awake = false;
  SendPriority priority = SendPriority::StreamsFirst;
  bool streams_waiting = false;  // the application may have stream data
  std::array<uint8_t, 32> static_secret{};

  bool confirmed = false;
  std::string new_token;
  std::optional<CloseReason> close_reason;
  bool close_pending = false;
  std::vector<uint8_t> close_packet;  // sent again while the peer keeps talking
  NetworkPath close_path;
  uint64_t packets_since_close = 0;
  bool resend_close = false;
  std::optional<Instant> close_deadline;  // end of the closing or draining period

  std::unique_ptr<PathLayer> path_layer;
  bool path_writes = false;  // path packets may be sent
  PacketRepeater repeater;
  // Of a server, until it is known that the client's address is its own.
  std::optional<AddressCredit> credit;
  // Until the peer has proved its new address, all that goes there must be in the library\'s
  // account (RFC 9000 8.1, 9.3): nothing of ours is added.
  std::optional<NetworkPath> validating;
  std::optional<Instant> unanswered_since;  // the first packet sent since the peer was heard
  DatagramOrigin origin;                    // of the packet being read
  TrafficClass writing_class = TrafficClass::Bulk;
  Ecn last_ecn = Ecn::NotEct;

  PathMtuGuard mtu_guard;
  StallDetector stall;
  std::vector<uint8_t> probe_frame;
  Instant probe_blocked_until{};
  Instant heard_at{};
  Instant called_at{};         // when the verb that runs began, for callbacks
  size_t burst = 0;            // bytes since pacing was last told
  PathStorage path_storage;    // where the packet being written goes
  PathStorage cached_storage;  // what it held when it was last converted
  NetworkPath cached_path;     // the same, converted
};

}  // namespace masque
