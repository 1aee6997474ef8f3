// SPDX-License-Identifier: Apache-2.0
// What ngtcp2 calls while it reads and writes packets: each hands on to the application or the
// endpoint's table, in a few lines.
#include <algorithm>

#include "core/quic/quic_connection_impl.h"

namespace masque {

namespace {

using Impl = QuicConnection::Impl;

Impl& impl_of(void* user_data) { return *static_cast<Impl*>(user_data); }
StreamId stream_of(int64_t id) { return StreamId(static_cast<uint64_t>(id)); }
int result_of(Continue go_on) { return go_on == Continue::Yes ? 0 : NGTCP2_ERR_CALLBACK_FAILURE; }

int on_handshake_completed(ngtcp2_conn*, void* user_data) {
  Impl& impl = impl_of(user_data);
  impl.state = Impl::State::Open;
  impl.credit.reset();
  if (impl.role == Impl::Role::Server) {
    impl.offer_new_token(ngtcp2_conn_get_path(impl.connection)->remote);
  }
  return result_of(impl.application->on_handshake_completed());
}

int on_new_token(ngtcp2_conn*, const uint8_t* token, size_t length, void* user_data) {
  impl_of(user_data).new_token.assign(as_text(Bytes(token, length)));
  return 0;
}

int on_handshake_confirmed(ngtcp2_conn*, void* user_data) {
  impl_of(user_data).confirmed = true;
  return 0;
}

int on_stream_data(ngtcp2_conn*, uint32_t flags, int64_t id, uint64_t, const uint8_t* data,
                   size_t length, void* user_data, void*) {
  const bool fin = (flags & NGTCP2_STREAM_DATA_FLAG_FIN) != 0;
  impl_of(user_data).streams_waiting = true;  // it may be answered
  return result_of(
      impl_of(user_data).application->on_stream_data(stream_of(id), Bytes(data, length), fin));
}

int on_stream_acked(ngtcp2_conn*, int64_t id, uint64_t, uint64_t length, void* user_data, void*) {
  impl_of(user_data).application->on_stream_acked(stream_of(id), length);
  return 0;
}

int on_stream_close(ngtcp2_conn* connection, uint32_t flags, int64_t id, uint64_t code,
                    void* user_data, void*) {
  constexpr uint64_t kH3NoError = 0x100;
  if (ngtcp2_conn_is_local_stream(connection, id) == 0) {
    // The peer may open another in its place.
    if (ngtcp2_is_bidi_stream(id) != 0) {
      ngtcp2_conn_extend_max_streams_bidi(connection, 1);
    } else {
      ngtcp2_conn_extend_max_streams_uni(connection, 1);
    }
  }
  const bool has_code = (flags & NGTCP2_STREAM_CLOSE_FLAG_APP_ERROR_CODE_SET) != 0;
  impl_of(user_data).application->on_stream_closed(stream_of(id), has_code ? code : kH3NoError);
  return 0;
}

int on_stream_reset(ngtcp2_conn*, int64_t id, uint64_t, uint64_t code, void* user_data, void*) {
  impl_of(user_data).application->on_stream_reset(stream_of(id), code);
  return 0;
}

int on_stream_unblocked(ngtcp2_conn*, int64_t id, uint64_t, void* user_data, void*) {
  impl_of(user_data).streams_waiting = true;
  impl_of(user_data).application->on_stream_unblocked(stream_of(id));
  return 0;
}

int on_remote_streams(ngtcp2_conn*, uint64_t max_streams, void* user_data) {
  impl_of(user_data).application->on_remote_streams(max_streams);
  return 0;
}

int on_datagram_frame(ngtcp2_conn*, uint32_t, const uint8_t* data, size_t length, void* user_data) {
  impl_of(user_data).application->on_datagram(Bytes(data, length));
  return 0;
}

// The id of a datagram is the size of its packet.
int on_datagram_acked(ngtcp2_conn*, uint64_t size, void* user_data) {
  impl_of(user_data).mtu_guard.on_acknowledged(static_cast<size_t>(size));
  return 0;
}

int on_datagram_lost(ngtcp2_conn*, uint64_t size, void* user_data) {
  Impl& impl = impl_of(user_data);
  impl.mtu_guard.on_lost(impl.called_at, static_cast<size_t>(size), impl.pto());
  return 0;
}

void on_random(uint8_t* out, size_t length, const ngtcp2_rand_ctx* context) {
  static_cast<Rng*>(context->native_handle)->fill(MutableBytes(out, length));
}

int on_new_connection_id(ngtcp2_conn*, ngtcp2_cid* id, ngtcp2_stateless_reset_token* token,
                         size_t length, void* user_data) {
  Impl& impl = impl_of(user_data);
  // RFC 9000 5.1: unpredictable, so that nobody outside can link two of them.
  id->datalen = length;
  impl.rng.fill(MutableBytes(id->data, length));
  if (ngtcp2_crypto_generate_stateless_reset_token(token->data, impl.static_secret.data(),
                                                   impl.static_secret.size(), id) != 0) {
    return NGTCP2_ERR_CALLBACK_FAILURE;
  }
  if (impl.registry != nullptr) impl.registry->add_connection_id(from_ngtcp2(*id));
  impl.add_path_id(from_ngtcp2(*id));
  return 0;
}

int on_remove_connection_id(ngtcp2_conn*, const ngtcp2_cid* id, void* user_data) {
  Impl& impl = impl_of(user_data);
  if (impl.registry != nullptr) impl.registry->remove_connection_id(from_ngtcp2(*id));
  impl.remove_path_id(from_ngtcp2(*id));
  return 0;
}

int on_path_challenge(ngtcp2_conn*, ngtcp2_path_challenge_data* data, void* user_data) {
  impl_of(user_data).rng.fill(MutableBytes(data->data, sizeof(data->data)));
  return 0;
}

int on_begin_path_validation(ngtcp2_conn*, uint32_t, const ngtcp2_path* path, const ngtcp2_path*,
                             void* user_data) {
  impl_of(user_data).validating = from_ngtcp2(*path);
  return 0;
}

int on_path_validation(ngtcp2_conn*, uint32_t flags, const ngtcp2_path* path, const ngtcp2_path*,
                       ngtcp2_path_validation_result result, void* user_data) {
  // One that was broken off ends after the next has begun.
  Impl& impl = impl_of(user_data);
  if (impl.validating == from_ngtcp2(*path)) impl.validating.reset();
  if (result == NGTCP2_PATH_VALIDATION_RESULT_SUCCESS &&
      (flags & NGTCP2_PATH_VALIDATION_FLAG_NEW_TOKEN) != 0) {
    impl.offer_new_token(path->remote);
  }
  return 0;
}

int on_stateless_reset(ngtcp2_conn*, const ngtcp2_pkt_stateless_reset2*, void* user_data) {
  impl_of(user_data).close_reason = CloseReason{.cause = CloseReason::Cause::StatelessReset,
                                                .text = "the peer has lost this connection"};
  return 0;
}

}  // namespace

ngtcp2_callbacks QuicConnection::Impl::callbacks() {
  ngtcp2_callbacks out{};
  out.handshake_completed = on_handshake_completed;
  out.handshake_confirmed = on_handshake_confirmed;
  out.recv_new_token = on_new_token;
  out.recv_stream_data = on_stream_data;
  out.acked_stream_data_offset = on_stream_acked;
  out.stream_close = on_stream_close;
  out.stream_reset = on_stream_reset;
  out.extend_max_stream_data = on_stream_unblocked;
  out.extend_max_remote_streams_bidi = on_remote_streams;
  out.recv_datagram = on_datagram_frame;
  out.ack_datagram = on_datagram_acked;
  out.lost_datagram = on_datagram_lost;
  out.rand = on_random;
  out.get_new_connection_id2 = on_new_connection_id;
  out.remove_connection_id = on_remove_connection_id;
  out.get_path_challenge_data2 = on_path_challenge;
  out.begin_path_validation = on_begin_path_validation;
  out.path_validation = on_path_validation;
  out.recv_stateless_reset2 = on_stateless_reset;
  tls->install_callbacks(out);
  return out;
}

// RFC 9000 8.1.3: with it the client's next connection from this address needs no Retry.
void QuicConnection::Impl::offer_new_token(const ngtcp2_addr& remote) {
  std::array<uint8_t, NGTCP2_CRYPTO_MAX_REGULAR_TOKENLEN> token;
  const ngtcp2_ssize length =
      ngtcp2_crypto_generate_regular_token(token.data(), static_secret.data(), static_secret.size(),
                                           remote.addr, remote.addrlen, to_ns(called_at));
  if (length <= 0) return;  // the client will do without
  static_cast<void>(
      ngtcp2_conn_submit_new_token(connection, token.data(), static_cast<size_t>(length)));
}

ngtcp2_settings QuicConnection::Impl::ngtcp2_settings_for(Instant now,
                                                          const NetworkPath& path) const {
  // Descending, so that a good path is known after one round trip. All fit Ethernet and the usual
  // tunnels; 1314 is the least that carries a 1280-byte packet (protocol: RFC 9484 7.2 budget).
  static constexpr uint16_t kProbes[] = {1472, 1452, 1432, 1406, 1380, 1342, 1314, 1280, 1232};
  ngtcp2_settings out;
  ngtcp2_settings_default(&out);
  switch (settings.congestion_control) {
    case CongestionControl::Cubic:
      out.cc_algo = NGTCP2_CC_ALGO_CUBIC;
      break;
    case CongestionControl::Bbr:
      out.cc_algo = NGTCP2_CC_ALGO_BBR;
      break;
    case CongestionControl::Reno:
      out.cc_algo = NGTCP2_CC_ALGO_RENO;
      break;
  }
  out.initial_ts = to_ns(now);
  out.rand_ctx.native_handle = &rng;
  out.handshake_timeout = static_cast<uint64_t>(settings.handshake_timeout.count());
  // Over IPv6 an Ethernet frame holds 20 bytes less; probing for more would only cost time-outs.
  const size_t ethernet_max = path.remote.address.version() == IpVersion::V6 ? 1452 : 1472;
  out.max_tx_udp_payload_size = std::min(settings.udp_payload_max, ethernet_max);
  out.pmtud_probes = kProbes;
  out.pmtud_probeslen = std::size(kProbes);
  static constexpr size_t kAckByTimeOnly = 1000;
  // HyStart++ (RFC 9406) of the peer's CUBIC ends slow start when the shortest round trip of eight
  // acknowledgements grows from one round to the next. Where the delay of the path walks that
  // happens by chance: the less the fewer there are, and the further apart. Eight in a round trip
  // are left when time alone tells when one is due (RFC 9000 13.2.2).
  if (settings.path_layer == QuicSettings::PathLayerUse::Wanted &&
      settings.congestion_control == CongestionControl::Cubic)
    out.ack_thresh = kAckByTimeOnly;
  out.max_window = 16 * 1024 * 1024;
  out.max_stream_window = 4 * 1024 * 1024;
  return out;
}

ngtcp2_transport_params QuicConnection::Impl::transport_parameters() const {
  ngtcp2_transport_params out;
  ngtcp2_transport_params_default(&out);
  out.initial_max_stream_data_bidi_local = settings.stream_window;
  out.initial_max_stream_data_bidi_remote = settings.stream_window;
  out.initial_max_stream_data_uni = settings.stream_window;
  out.initial_max_data = settings.connection_window;
  // Only clients open request streams (RFC 9114 6.1); a client that allowed them would have to
  // refuse.
  out.initial_max_streams_bidi = role == Role::Server ? settings.request_streams_max : 0;
  out.initial_max_streams_uni = 16;  // RFC 9114 6.2: at least 3; unknown types are discarded
  out.max_idle_timeout = static_cast<uint64_t>(settings.idle_timeout.count());
  out.active_connection_id_limit = 7;   // spare ones, or nobody can migrate (RFC 9000 5.1.1)
  out.max_datagram_frame_size = 65535;  // RFC 9221 3
  out.grease_quic_bit = 1;
  return out;
}

}  // namespace masque
