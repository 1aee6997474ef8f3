// SPDX-License-Identifier: Apache-2.0
#include "core/quic/quic_connection.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/log.h"
#include "core/quic/quic_connection_impl.h"

namespace masque {

namespace {

constexpr uint64_t kNever = UINT64_MAX;

ngtcp2_cid random_id(Rng& rng, size_t length) {
  ngtcp2_cid id;
  id.datalen = length;
  rng.fill(MutableBytes(id.data, length));
  return id;
}

std::string reason_text(const ngtcp2_ccerr& error) {
  return std::string(reinterpret_cast<const char*>(error.reason), error.reasonlen);
}

}  // namespace

QuicConnection::QuicConnection(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
QuicConnection::~QuicConnection() = default;

std::unique_ptr<QuicConnection> QuicConnection::create_client(Instant now,
                                                              const QuicSettings& settings,
                                                              TlsContext& tls, Rng& rng,
                                                              const ClientStart& start) {
  auto impl = std::make_unique<Impl>(Impl::Role::Client, settings, tls, rng);
  if (!impl->tls) return nullptr;
  // The first destination connection ID is the client's choice, at least 8 bytes (RFC 9000 7.2).
  const ngtcp2_cid dcid = random_id(rng, 18);
  const ngtcp2_cid scid = random_id(rng, kConnectionIdLength);
  ngtcp2_settings library_settings = impl->ngtcp2_settings_for(now, start.path);
  library_settings.token = reinterpret_cast<const uint8_t*>(start.token.data());
  library_settings.tokenlen = start.token.size();
  const ngtcp2_transport_params parameters = impl->transport_parameters();
  const ngtcp2_callbacks callbacks = impl->callbacks();
  rng.fill(impl->static_secret);
  const PathStorage path(start.path);
  if (ngtcp2_conn_client_new(&impl->connection, &dcid, &scid, &path.path, NGTCP2_PROTO_VER_V1,
                             &callbacks, &library_settings, &parameters, nullptr,
                             impl.get()) != 0) {
    return nullptr;
  }
  if (!impl->start()) return nullptr;
  return std::unique_ptr<QuicConnection>(new QuicConnection(std::move(impl)));
}

std::unique_ptr<QuicConnection> QuicConnection::create_server(Instant now,
                                                              const QuicSettings& settings,
                                                              TlsContext& tls, Rng& rng,
                                                              const ServerStart& start) {
  auto impl = std::make_unique<Impl>(Impl::Role::Server, settings, tls, rng);
  if (!impl->tls) return nullptr;
  impl->static_secret = start.static_secret;
  const ngtcp2_cid client_scid = to_ngtcp2(start.client_scid);
  const ngtcp2_cid scid = random_id(rng, kConnectionIdLength);
  ngtcp2_settings library_settings = impl->ngtcp2_settings_for(now, start.path);
  library_settings.token = start.token.data();
  library_settings.tokenlen = start.token.size();
  ngtcp2_transport_params parameters = impl->transport_parameters();
  parameters.original_dcid_present = 1;
  parameters.original_dcid = to_ngtcp2(start.original_dcid.value_or(start.client_chosen_dcid));
  switch (start.token_kind) {
    case ServerStart::Token::None:
      impl->credit.emplace();
      break;
    case ServerStart::Token::Retry:
      library_settings.token_type = NGTCP2_TOKEN_TYPE_RETRY;
      parameters.retry_scid_present = 1;
      parameters.retry_scid = to_ngtcp2(start.client_chosen_dcid);
      break;
    case ServerStart::Token::Regular:
      library_settings.token_type = NGTCP2_TOKEN_TYPE_NEW_TOKEN;
      break;
  }
  parameters.stateless_reset_token_present = 1;
  if (ngtcp2_crypto_generate_stateless_reset_token(parameters.stateless_reset_token,
                                                   impl->static_secret.data(),
                                                   impl->static_secret.size(), &scid) != 0) {
    return nullptr;
  }
  const ngtcp2_callbacks callbacks = impl->callbacks();
  const PathStorage path(start.path);
  if (ngtcp2_conn_server_new(&impl->connection, &client_scid, &scid, &path.path, start.version,
                             &callbacks, &library_settings, &parameters, nullptr,
                             impl.get()) != 0) {
    return nullptr;
  }
  if (!impl->start()) return nullptr;
  return std::unique_ptr<QuicConnection>(new QuicConnection(std::move(impl)));
}

bool QuicConnection::Impl::start() {
  reference.user_data = this;
  reference.get_conn = [](ngtcp2_crypto_conn_ref* ref) {
    return static_cast<Impl*>(ref->user_data)->connection;
  };
  if (!tls->bind(connection, &reference)) return false;
  if (role == Role::Client && settings.keep_alive > Duration::zero()) {
    // RFC 9114 5.1: the client keeps a tunnel's connection alive, the server should not.
    ngtcp2_conn_set_keep_alive_timeout(connection,
                                       static_cast<uint64_t>(settings.keep_alive.count()));
  }
  return true;
}

void QuicConnection::set_application(QuicApplication* application) {
  impl_->application = application;
}

void QuicConnection::set_registry(ConnectionIdRegistry* registry) {
  impl_->registry = registry;
  if (registry == nullptr) return;
  std::vector<ngtcp2_cid> ids(ngtcp2_conn_get_scid(impl_->connection, nullptr));
  ngtcp2_conn_get_scid(impl_->connection, ids.data());
  for (const ngtcp2_cid& id : ids) registry->add_connection_id(from_ngtcp2(id));
}

void QuicConnection::set_wake(std::move_only_function<void()> wake) {
  impl_->wake_function = std::move(wake);
}
void QuicConnection::wake() {
  impl_->streams_waiting = true;
  impl_->wake();
}
void QuicConnection::set_priority(SendPriority priority) { impl_->priority = priority; }

void QuicConnection::Impl::wake() {
  if (awake) return;
  awake = true;
  if (wake_function) wake_function();
}

// ---- receive ----------------------------------------------------------------------------------

QuicConnection::ReadResult QuicConnection::on_datagram(Instant now,
                                                       const ReceivedDatagram& datagram) {
  Impl& impl = *impl_;
  if (datagram.bytes.empty())
    return ReadResult::Ok;  // anybody can send one; the library calls it our fault
  impl.wake();
  impl.called_at = now;
  if (impl.state == Impl::State::Closing) {
    // RFC 9000 10.2.1: answer again, but ever more rarely.
    ++impl.packets_since_close;
    impl.resend_close = std::has_single_bit(impl.packets_since_close);
    return ReadResult::Ok;
  }
  if (impl.state == Impl::State::Draining || impl.state == Impl::State::Dead) return ReadResult::Ok;

  impl.heard_at = now;
  if (impl.path_layer) {
    if (impl.path_layer->on_packet(now, {.path = datagram.path, .ecn = datagram.ecn},
                                   datagram.bytes, impl)) {
      impl.unanswered_since.reset();
      return ReadResult::Ok;
    }
    if (impl.path_layer->knows(datagram.bytes)) impl.unanswered_since.reset();
  }
  return impl.read(now, datagram.path, datagram.ecn, datagram.bytes);
}

QuicConnection::ReadResult QuicConnection::Impl::read(Instant now, const NetworkPath& network_path,
                                                      Ecn ecn, MutableBytes packet) {
  const PathStorage path(network_path);
  if (credit && ngtcp2_path_eq(ngtcp2_conn_get_path(connection), &path.path) != 0) {
    credit->on_received(packet.size());
  }
  const ngtcp2_pkt_info info{.ecn = static_cast<uint8_t>(ecn)};
  const int rv =
      ngtcp2_conn_read_pkt(connection, &path.path, &info, packet.data(), packet.size(), to_ns(now));
  switch (rv) {
    case 0:
      return ReadResult::Ok;
    case NGTCP2_ERR_RETRY:
      return ReadResult::IncompleteInitial;
    case NGTCP2_ERR_DROP_CONN:
      state = Impl::State::Dead;
      return ReadResult::Discard;
    case NGTCP2_ERR_DRAINING: {
      if (!close_reason) {
        const ngtcp2_ccerr& error = *ngtcp2_conn_get_ccerr(connection);
        close_reason = CloseReason{.cause = CloseReason::Cause::Peer,
                                   .application = error.type == NGTCP2_CCERR_TYPE_APPLICATION,
                                   .code = error.error_code,
                                   .text = reason_text(error)};
      }
      enter_closing(now, Impl::State::Draining);
      return ReadResult::Ok;
    }
    case NGTCP2_ERR_RECV_VERSION_NEGOTIATION:
      close_reason = CloseReason{.cause = CloseReason::Cause::VersionNegotiation,
                                 .text = "the peer does not speak QUIC version 1"};
      state = Impl::State::Dead;
      return ReadResult::Ok;
    default:
      fail(rv);
      return ReadResult::Ok;
  }
}

// A library error ends the connection with the transport error that fits it.
void QuicConnection::Impl::fail(int library_error) {
  if (close_pending || state == State::Closing || state == State::Dead) return;
  CloseReason reason{.cause = CloseReason::Cause::Transport,
                     .code = ngtcp2_err_infer_quic_transport_error_code(library_error),
                     .text = ngtcp2_strerror(library_error)};
  if (library_error == NGTCP2_ERR_CRYPTO) {
    reason.cause = CloseReason::Cause::Tls;
    constexpr uint64_t kCryptoError = 0x100;  // RFC 9001 4.8
    reason.code = kCryptoError | ngtcp2_conn_get_tls_alert(connection);
    TlsFailure failure = tls->failure();
    reason.text = std::move(failure.text);
    reason.certificate = failure.certificate;
  }
  queue_close(std::move(reason));
}

void QuicConnection::Impl::queue_close(CloseReason reason) {
  if (close_pending || state == State::Closing || state == State::Draining || state == State::Dead)
    return;
  close_reason = std::move(reason);
  close_pending = true;
  wake();
}

void QuicConnection::Impl::enter_closing(Instant now, State next) {
  state = next;
  // RFC 9000 10.2: at least three times the probe timeout.
  close_deadline = now + 3 * Duration(static_cast<int64_t>(ngtcp2_conn_get_pto(connection)));
}

// ---- transmit ---------------------------------------------------------------------------------

QuicConnection::Flushed QuicConnection::poll_transmit(Instant now, TransmitBatch& batch) {
  Impl& impl = *impl_;
  impl.awake = false;
  impl.called_at = now;
  switch (impl.state) {
    case Impl::State::Handshaking:
    case Impl::State::Open:
      if (impl.close_pending) return impl.write_close(now, batch);
      impl.probe_path_mtu(now, batch);
      if (impl.write_packets(now, batch) == Flushed::Full) return Flushed::Full;
      if (impl.write_repeated(now, batch) == Flushed::Full) return Flushed::Full;
      return impl.path_writes ? impl.write_path_packets(now, batch) : Flushed::All;
    case Impl::State::Closing:
      if (impl.resend_close && !impl.close_packet.empty()) {
        const MutableBytes room = batch.room();
        if (room.size() < impl.close_packet.size()) return Flushed::Full;
        std::ranges::copy(impl.close_packet, room.begin());
        batch.commit(impl.close_path, Ecn::NotEct, impl.close_packet.size());
        impl.resend_close = false;
      }
      return Flushed::All;
    case Impl::State::Draining:
    case Impl::State::Dead:
      return Flushed::All;
  }
  std::unreachable();
}

MutableBytes QuicConnection::Impl::packet_room(TransmitBatch& batch) {
  MutableBytes room = batch.room();
  if (room.empty() || state != State::Open) return room;
  mtu_guard.on_path_limit(ngtcp2_conn_get_path_max_tx_udp_payload_size(connection));
  room = room.subspan(headroom());
  // The library's own search needs more room than its present result.
  if (mtu_guard.trusting()) return room;
  return room.first(std::min(room.size(), mtu_guard.limit()));
}

size_t QuicConnection::Impl::payload_limit() const {
  const size_t by_path = ngtcp2_conn_get_path_max_tx_udp_payload_size(connection);
  return mtu_guard.trusting() ? by_path : std::min(by_path, mtu_guard.limit());
}

QuicConnection::Flushed QuicConnection::Impl::write_packets(Instant now, TransmitBatch& batch) {
  const Flushed flushed = write_waiting(now, batch, WhenNoStream::AskLibrary);
  if (flushed == Flushed::All) end_burst(now);
  return flushed;
}

// The burst goes on: the pacer would hold back what follows at once.
QuicConnection::Flushed QuicConnection::Impl::write_waiting(Instant now, TransmitBatch& batch,
                                                            WhenNoStream when_no_stream) {
  StreamChunk chunk;
  bool begun = false;  // a packet with room for more
  for (;;) {
    MutableBytes room = packet_room(batch);
    if (room.empty()) return Flushed::Full;
    if (credit) room = room.first(credit->limit(room.size()));
    if (room.empty()) return Flushed::All;
    chunk.stream = -1;
    chunk.piece_count = 0;
    chunk.fin = false;
    if (application != nullptr && state == State::Open && !application->next_stream_chunk(chunk)) {
      return close_pending ? write_close(now, batch) : Flushed::All;
    }
    if (chunk.stream < 0) {
      streams_waiting = false;
      if (when_no_stream == WhenNoStream::Return && !begun) return Flushed::All;
    }
    ngtcp2_vec vec[StreamChunk::kPiecesMax];
    for (size_t i = 0; i < chunk.piece_count; ++i) {
      vec[i] = {.base = unconst(chunk.pieces[i].data()), .len = chunk.pieces[i].size()};
    }
    uint32_t flags = NGTCP2_WRITE_STREAM_FLAG_MORE;
    if (chunk.fin) flags |= NGTCP2_WRITE_STREAM_FLAG_FIN;
    ngtcp2_ssize written = -1;
    ngtcp2_pkt_info info{};
    const ngtcp2_ssize n = ngtcp2_conn_writev_stream(
        connection, &path_storage.path, &info, room.data(), room.size(), &written, flags,
        chunk.stream, vec, chunk.piece_count, to_ns(now));
    if (written >= 0 && chunk.stream >= 0) {
      application->on_stream_written(StreamId(static_cast<uint64_t>(chunk.stream)),
                                     static_cast<size_t>(written));
    }
    if (n == NGTCP2_ERR_WRITE_MORE) {
      begun = true;
      continue;
    }
    if (n == NGTCP2_ERR_STREAM_DATA_BLOCKED) {
      application->on_stream_blocked(StreamId(static_cast<uint64_t>(chunk.stream)));
      continue;
    }
    if (n == NGTCP2_ERR_STREAM_SHUT_WR || n == NGTCP2_ERR_STREAM_NOT_FOUND) {
      application->on_stream_write_shut(StreamId(static_cast<uint64_t>(chunk.stream)));
      continue;
    }
    if (n < 0) {
      fail(static_cast<int>(n));
      return write_close(now, batch);
    }
    if (n == 0) return Flushed::All;
    begun = false;
    commit(batch, static_cast<size_t>(n), info, now);
  }
}

// Files the packet that lies in batch.room() and keeps the pacer honest.
void QuicConnection::Impl::commit(TransmitBatch& batch, size_t length, const ngtcp2_pkt_info& info,
                                  Instant now) {
  // Converting an address costs more than comparing it, and it hardly ever changes.
  if (ngtcp2_path_eq(&cached_storage.path, &path_storage.path) == 0) {
    ngtcp2_path_copy(&cached_storage.path, &path_storage.path);
    cached_path = from_ngtcp2(path_storage.path);
  }
  last_ecn = static_cast<Ecn>(info.ecn & 3);
  if (!path_writes) repeat_later(now, batch.room().first(length));
  if (credit) credit->on_sent(length);
  batch.commit(cached_path, last_ecn, path_writes ? wrap(batch, length, now) : length);
  burst += length;
  if (burst >= ngtcp2_conn_get_send_quantum(connection)) end_burst(now);
}

// All that may go out now is a probe of loss recovery (RFC 9002 6.2.4). Were it large and lost as
// those before it, its timer would only double: a small packet brings the answer.
bool QuicConnection::Impl::window_full() const {
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info(connection, &info);
  return info.bytes_in_flight >= info.cwnd;
}

bool QuicConnection::Impl::stalled(Instant now) {
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info(connection, &info);
  if (info.bytes_in_flight >= info.cwnd) return stall.on_blocked(now, info.bytes_in_flight, pto());
  stall.on_open();  // only the pacer says no
  return false;
}

void QuicConnection::Impl::end_burst(Instant now) {
  if (burst == 0) return;
  burst = 0;
  if (!rtt_is_stale()) ngtcp2_conn_update_pkt_tx_time(connection, to_ns(now));
}

// The pacer spreads the window over the smoothed round trip. A first sample that had to wait (for
// neighbour discovery, a radio or a server to wake) makes that hundreds of times too long, and it
// wears off by an eighth per acknowledgement only: waits of half a second outlive the packets in
// every queue, so that the tunnel's TCP backs off before there are acknowledgements enough. Until
// then the window alone bounds the bursts (RFC 9002 7.7).
bool QuicConnection::Impl::rtt_is_stale() const {
  constexpr uint64_t kFarOff = 4;
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info(connection, &info);
  return info.latest_rtt != 0 && info.smoothed_rtt / kFarOff > info.latest_rtt;
}

QuicConnection::Flushed QuicConnection::Impl::write_close(Instant now, TransmitBatch& batch) {
  if (close_reason->cause == CloseReason::Cause::Local && state == State::Open) {
    // Resets that wait go first: the peer shall learn why a stream ended, not only that all is
    // over.
    const MutableBytes before = packet_room(batch);
    if (before.empty()) return Flushed::Full;
    ngtcp2_pkt_info before_info{};
    const ngtcp2_ssize size = ngtcp2_conn_write_pkt(connection, &path_storage.path, &before_info,
                                                    before.data(), before.size(), to_ns(now));
    if (size > 0) commit(batch, static_cast<size_t>(size), before_info, now);
  }
  MutableBytes room = batch.room();
  if (room.empty()) return Flushed::Full;
  if (credit) room = room.first(credit->limit(room.size()));
  close_pending = false;
  ngtcp2_ccerr error;
  ngtcp2_ccerr_default(&error);
  const CloseReason& reason = *close_reason;
  const auto* text = reinterpret_cast<const uint8_t*>(reason.text.data());
  // RFC 9000 10.2.3: details of TLS faults are for our log, not for the peer.
  const size_t text_length =
      reason.cause == CloseReason::Cause::Local ? std::min<size_t>(reason.text.size(), 256) : 0;
  if (reason.application) {
    ngtcp2_ccerr_set_application_error(&error, reason.code, text, text_length);
  } else {
    ngtcp2_ccerr_set_transport_error(&error, reason.code, text, text_length);
  }
  ngtcp2_pkt_info info{};
  const ngtcp2_ssize n = ngtcp2_conn_write_connection_close(
      connection, &path_storage.path, &info, room.data(), room.size(), &error, to_ns(now));
  enter_closing(now, State::Closing);
  if (n <= 0) {
    state = State::Dead;
    return Flushed::All;
  }
  close_packet.assign(room.begin(), room.begin() + n);
  close_path = from_ngtcp2(path_storage.path);
  batch.commit(close_path, Ecn::NotEct, static_cast<size_t>(n));
  return Flushed::All;
}

// ---- timers -----------------------------------------------------------------------------------

std::optional<Instant> QuicConnection::next_timeout() const {
  const Impl& impl = *impl_;
  switch (impl.state) {
    case Impl::State::Handshaking:
    case Impl::State::Open: {
      const uint64_t expiry = ngtcp2_conn_get_expiry(impl.connection);
      auto out = earlier(impl.next_probe(), impl.repeater.next_timeout());
      if (impl.path_layer) {
        const auto sending = impl.path_writes && !impl.validating ? PathLayer::Sending::Allowed
                                                                  : PathLayer::Sending::Paused;
        out = earlier(out, impl.path_layer->next_timeout(impl.called_at, sending));
      }
      if (expiry == kNever) return out;
      return earlier(instant_from_ns(expiry), out);
    }
    case Impl::State::Closing:
    case Impl::State::Draining:
      return impl.close_deadline;
    case Impl::State::Dead:
      return std::nullopt;
  }
  std::unreachable();
}

void QuicConnection::on_timeout(Instant now) {
  Impl& impl = *impl_;
  impl.wake();
  impl.called_at = now;
  if (impl.state == Impl::State::Closing || impl.state == Impl::State::Draining) {
    if (now >= *impl.close_deadline) impl.state = Impl::State::Dead;
    return;
  }
  if (impl.state == Impl::State::Dead) return;
  if (impl.path_layer) {
    impl.path_layer->on_timeout(now, impl);
    if (impl.state != Impl::State::Open) return;  // what was handed on ended the connection
  }
  const int rv = ngtcp2_conn_handle_expiry(impl.connection, to_ns(now));
  if (rv == 0) return;
  if (rv == NGTCP2_ERR_IDLE_CLOSE || rv == NGTCP2_ERR_HANDSHAKE_TIMEOUT) {
    // RFC 9000 10.1: an idle connection is closed silently.
    const bool idle = rv == NGTCP2_ERR_IDLE_CLOSE && impl.state == Impl::State::Open;
    impl.close_reason = CloseReason{
        .cause = idle ? CloseReason::Cause::IdleTimeout : CloseReason::Cause::HandshakeTimeout,
        .text = idle ? "nothing was heard from the peer" : "no answer from the peer"};
    impl.state = Impl::State::Dead;
    return;
  }
  impl.fail(rv);
}

// ---- streams and datagrams --------------------------------------------------------------------

std::optional<StreamId> QuicConnection::open_bidirectional_stream() {
  int64_t id = 0;
  if (ngtcp2_conn_open_bidi_stream(impl_->connection, &id, nullptr) != 0) return std::nullopt;
  return StreamId(static_cast<uint64_t>(id));
}

std::optional<StreamId> QuicConnection::open_unidirectional_stream() {
  int64_t id = 0;
  if (ngtcp2_conn_open_uni_stream(impl_->connection, &id, nullptr) != 0) return std::nullopt;
  return StreamId(static_cast<uint64_t>(id));
}

void QuicConnection::consume_stream_data(StreamId stream, size_t bytes) {
  ngtcp2_conn_extend_max_stream_offset(impl_->connection, static_cast<int64_t>(stream.value()),
                                       bytes);
  ngtcp2_conn_extend_max_offset(impl_->connection, bytes);
}

void QuicConnection::shutdown_stream(StreamId stream, uint64_t code) {
  ngtcp2_conn_shutdown_stream(impl_->connection, 0, static_cast<int64_t>(stream.value()), code);
  impl_->wake();
}

void QuicConnection::shutdown_stream_read(StreamId stream, uint64_t code) {
  ngtcp2_conn_shutdown_stream_read(impl_->connection, 0, static_cast<int64_t>(stream.value()),
                                   code);
  impl_->wake();
}

namespace {

// What a DATAGRAM frame's payload costs beside itself.
size_t datagram_overhead(ngtcp2_conn* connection) {
  // Short header: flags, destination connection ID, 4-byte packet number, AEAD tag.
  const size_t packet_overhead = 1 + ngtcp2_conn_get_dcid(connection)->datalen + 4 + 16;
  constexpr size_t kFrameOverhead = 1 + 2;  // ngtcp2 always writes type 0x31 with a length
  return packet_overhead + kFrameOverhead;
}

}  // namespace

ngtcp2_ssize QuicConnection::Impl::write_datagram(Instant now, const Datagram& datagram,
                                                  MutableBytes room, ngtcp2_pkt_info& info,
                                                  bool& accepted) {
  int taken = 0;
  const ngtcp2_ssize n = ngtcp2_conn_writev_datagram(
      connection, &path_storage.path, &info, room.data(), room.size(), &taken, datagram.flags,
      datagram.id, datagram.pieces.data(), datagram.pieces.size(), to_ns(now));
  accepted = taken != 0;
  return n;
}

void QuicConnection::set_probe_frame(Bytes frame) {
  impl_->probe_frame.assign(frame.begin(), frame.end());
}

void QuicConnection::Impl::probe_path_mtu(Instant now, TransmitBatch& batch) {
  if (state != State::Open || probe_frame.empty() || now < probe_blocked_until) return;
  const auto size = mtu_guard.probe(now, pto(), heard_at);
  if (!size || batch.room().empty()) return;
  const MutableBytes room = batch.room().subspan(headroom());
  if (room.size() < *size) return;
  if (window_full()) {
    probe_blocked_until = now + pto();
    return;
  }
  const ngtcp2_vec piece{.base = probe_frame.data(), .len = probe_frame.size()};
  ngtcp2_pkt_info info{};
  bool accepted = false;
  const ngtcp2_ssize n = write_datagram(
      now, {.pieces = {&piece, 1}, .flags = NGTCP2_WRITE_DATAGRAM_FLAG_PADDING, .id = *size},
      room.first(*size), info, accepted);
  if (n < 0) fail(static_cast<int>(n));
  if (n == 0) probe_blocked_until = now + pto();
  if (n <= 0) return;
  commit(batch, static_cast<size_t>(n), info, now);
  if (accepted) mtu_guard.on_probe_sent(now);
}

std::optional<Instant> QuicConnection::Impl::next_probe() const {
  if (probe_frame.empty()) return std::nullopt;
  const auto due = mtu_guard.next_timeout(pto(), heard_at);
  if (!due) return std::nullopt;
  return std::max(*due, probe_blocked_until);
}

// The pacer, the window or the shaper says: not now.
SendResult QuicConnection::Impl::refuse(Instant now) {
  end_burst(now);
  wake();
  return SendResult::Blocked;
}

SendResult QuicConnection::send_datagram(Instant now, Bytes prefix, const PacketSlices& packet,
                                         TrafficClass traffic_class, TransmitBatch& batch) {
  Impl& impl = *impl_;
  if (impl.state != Impl::State::Open || impl.close_pending) return SendResult::Closed;
  impl.called_at = now;
  if (impl.streams_waiting && impl.priority == SendPriority::StreamsFirst) {
    const auto flushed = impl.write_waiting(now, batch, Impl::WhenNoStream::Return);
    if (flushed == Flushed::Full) return SendResult::Blocked;
    if (impl.state != Impl::State::Open || impl.close_pending) return SendResult::Closed;
  }
  if (prefix.size() + packet.size() > datagram_size_max()) {
    return datagrams_negotiated() ? SendResult::TooLarge : SendResult::Closed;
  }
  const ngtcp2_vec pieces[3] = {
      {.base = unconst(prefix.data()), .len = prefix.size()},
      {.base = unconst(packet.head.data()), .len = packet.head.size()},
      {.base = unconst(packet.body.data()), .len = packet.body.size()},
  };
  if (impl.path_writes && !impl.path_layer->may_send(now, traffic_class)) return impl.refuse(now);
  const size_t packet_size =
      prefix.size() + packet.size() + datagram_overhead(impl.connection) + impl.headroom();
  if (impl.mtu_guard.suspects(packet_size) && impl.window_full()) {
    impl.wake();
    return SendResult::Blocked;
  }
  // A packet may go out without our frame (a probe, a handshake flight): then once more.
  constexpr int kPacketsBeforeOurs = 8;
  for (int attempt = 0; attempt < kPacketsBeforeOurs; ++attempt) {
    MutableBytes room = impl.packet_room(batch);
    if (room.empty()) return SendResult::Blocked;
    // With an acknowledgement beside the datagram, too, it has to fit under its repairs.
    if (impl.path_writes) {
      room = room.first(std::min(room.size(), impl.payload_limit() - PathSender::kOverhead));
    }
    bool accepted = false;
    ngtcp2_pkt_info info{};
    const ngtcp2_ssize n =
        impl.write_datagram(now, {.pieces = pieces, .id = packet_size}, room, info, accepted);
    if (n < 0) {
      impl.fail(static_cast<int>(n));
      return SendResult::Closed;
    }
    if (n == 0) {
      if (impl.path_layer) impl.path_layer->on_blocked();
      if (impl.stalled(now)) {
        impl.queue_close({.cause = CloseReason::Cause::Transport,
                          .code = NGTCP2_INTERNAL_ERROR,
                          .text = "the congestion window does not open again"});
        return SendResult::Closed;
      }
      return impl.refuse(now);
    }
    impl.writing_class = accepted ? traffic_class : TrafficClass::Bulk;
    impl.commit(batch, static_cast<size_t>(n), info, now);
    impl.writing_class = TrafficClass::Bulk;
    if (accepted) {
      // What was sent may be a probe beyond the window.
      if (impl.stall.waiting()) static_cast<void>(impl.stalled(now));
      impl.wake();
      return SendResult::Sent;
    }
  }
  return SendResult::Blocked;
}

bool QuicConnection::datagrams_negotiated() const {
  const ngtcp2_transport_params* peer = ngtcp2_conn_get_remote_transport_params(impl_->connection);
  return peer != nullptr && peer->max_datagram_frame_size > 0;
}

size_t QuicConnection::datagram_size_max() const {
  const ngtcp2_transport_params* peer = ngtcp2_conn_get_remote_transport_params(impl_->connection);
  if (peer == nullptr || peer->max_datagram_frame_size == 0) return 0;
  size_t path_max = impl_->payload_limit();
  // Both directions get the same, so that the tunnel has one MTU.
  if (impl_->path_writes) path_max -= PathSender::kOverhead;
  const size_t by_path = path_max - datagram_overhead(impl_->connection);
  // Some peers compare the payload instead of the whole frame: leave slack (RFC 9221 3).
  constexpr size_t kFrameSlack = 9;
  const size_t by_peer =
      peer->max_datagram_frame_size > kFrameSlack ? peer->max_datagram_frame_size - kFrameSlack : 0;
  return std::min(by_path, by_peer);
}

// ---- state ------------------------------------------------------------------------------------

void QuicConnection::close_application(uint64_t code, std::string_view reason) {
  impl_->queue_close({.cause = CloseReason::Cause::Local,
                      .application = true,
                      .code = code,
                      .text = std::string(reason)});
}

void QuicConnection::initiate_key_update(Instant now) {
  // RFC 9001 6.1: not before the handshake is confirmed; the library asserts it.
  if (!impl_->confirmed || impl_->state != Impl::State::Open) return;
  ngtcp2_conn_initiate_key_update(impl_->connection, to_ns(now));
  impl_->wake();
}

bool QuicConnection::handshake_completed() const {
  return impl_->state != Impl::State::Handshaking;
}
bool QuicConnection::handshake_confirmed() const { return impl_->confirmed; }
bool QuicConnection::closing() const {
  return impl_->close_pending ||
         (impl_->state != Impl::State::Handshaking && impl_->state != Impl::State::Open);
}
bool QuicConnection::draining() const { return impl_->state == Impl::State::Draining; }
bool QuicConnection::dead() const { return impl_->state == Impl::State::Dead; }
const std::optional<CloseReason>& QuicConnection::close_reason() const {
  return impl_->close_reason;
}
PeerCertificate QuicConnection::peer_certificate() const { return impl_->tls->peer_certificate(); }
std::string QuicConnection::cipher() const { return impl_->tls->cipher(); }
bool QuicConnection::export_key(std::string_view label, MutableBytes out) const {
  return impl_->tls->export_key(label, out);
}
NetworkPath QuicConnection::path() const {
  return from_ngtcp2(*ngtcp2_conn_get_path(impl_->connection));
}

const std::string& QuicConnection::new_token() const { return impl_->new_token; }

SendingPace QuicConnection::pace() const {
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info(impl_->connection, &info);
  const bool slow_start = info.cwnd < info.ssthresh;
  return {.round_trip = Duration(static_cast<int64_t>(info.smoothed_rtt)),
          .searching = slow_start && (!impl_->path_layer || impl_->path_layer->searching())};
}

QuicStats QuicConnection::stats() const {
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info(impl_->connection, &info);
  const auto duration = [](ngtcp2_duration d) {
    return d == kNever ? Duration::zero() : Duration(static_cast<int64_t>(d));
  };
  return {.smoothed_rtt = duration(info.smoothed_rtt),
          .min_rtt = duration(info.min_rtt),
          .latest_rtt = duration(info.latest_rtt),
          .congestion_window = info.cwnd,
          .bytes_in_flight = info.bytes_in_flight,
          .packets_sent = info.pkt_sent,
          .packets_received = info.pkt_recv,
          .packets_lost = info.pkt_lost,
          .bytes_sent = info.bytes_sent,
          .bytes_received = info.bytes_recv,
          .udp_payload_max = impl_->mtu_guard.trusting()
                                 ? ngtcp2_conn_get_path_max_tx_udp_payload_size(impl_->connection)
                                 : impl_->mtu_guard.limit()};
}

}  // namespace masque
