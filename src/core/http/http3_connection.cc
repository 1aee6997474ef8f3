// SPDX-License-Identifier: Apache-2.0
#include "core/http/http3_connection.h"

#include <nghttp3/nghttp3.h>

#include <algorithm>
#include <deque>
#include <format>
#include <unordered_map>

#include "base/log.h"
#include "core/http/early_datagrams.h"

namespace masque {

namespace {

constexpr uint64_t kQuarterStreamIdMax = (uint64_t{1} << 60) - 1;  // RFC 9297 2.1

StreamId stream_of(int64_t id) { return StreamId(static_cast<uint64_t>(id)); }
int64_t raw(StreamId id) { return static_cast<int64_t>(id.value()); }

std::vector<nghttp3_nv> to_nv(const HeaderFields& fields) {
  std::vector<nghttp3_nv> out;
  out.reserve(fields.size());
  for (const HeaderField& field : fields) {
    out.push_back({.name = as_bytes(field.name).data(),
                   .value = as_bytes(field.value).data(),
                   .namelen = field.name.size(),
                   .valuelen = field.value.size(),
                   .flags = NGHTTP3_NV_FLAG_NONE});
  }
  return out;
}

// The data stream that we send: chunks stay until QUIC has them acknowledged.
struct SendBuffer {
  std::deque<std::vector<uint8_t>> chunks;
  size_t handed = 0;       // chunks that nghttp3 knows
  size_t front_acked = 0;  // acknowledged bytes of the first chunk
  size_t bytes = 0;
  bool fin = false;

  void acknowledge(uint64_t count) {
    while (count > 0 && !chunks.empty()) {
      const size_t left = chunks.front().size() - front_acked;
      if (count < left) {
        front_acked += static_cast<size_t>(count);
        return;
      }
      count -= left;
      bytes -= chunks.front().size();
      chunks.pop_front();
      front_acked = 0;
      --handed;
    }
  }
};

// Path MTU probes travel as datagrams of a context that was never registered: the peer drops them
// (RFC 9484 5), and a lost one costs no user a packet. Clients allocate even numbers, servers odd.
constexpr uint64_t kClientProbeContext = 62;
constexpr uint64_t kServerProbeContext = 63;

struct RequestStream {
  HeaderFields fields;  // of the section being received
  size_t field_bytes = 0;
  bool headers_done = false;  // final header section has been handed on
  bool datagrams = false;
  bool plain = false;  // no extended CONNECT: datagrams mean nothing there
  bool gone = false;   // the handler has been told, or has aborted it
  SendBuffer send;
  std::array<uint8_t, 9> prefix{};  // Quarter Stream ID and Context ID 0
  size_t prefix_size = 0;
  std::array<uint8_t, 9> probe{};  // the same with a context that means nothing
};

}  // namespace

std::optional<std::string_view> find_field(const HeaderFields& fields, std::string_view name) {
  const auto found = std::ranges::find(fields, name, &HeaderField::name);
  if (found == fields.end()) return std::nullopt;
  return found->value;
}

size_t HttpConnection::send_stream_data_that_fits(StreamId stream, Bytes data) {
  constexpr size_t kPieceMax = 16 * 1024;
  size_t sent = 0;
  while (sent < data.size()) {
    const Bytes piece = data.subspan(sent, std::min(kPieceMax, data.size() - sent));
    if (!send_stream_data(stream, piece)) break;
    sent += piece.size();
  }
  return sent;
}

struct Http3Connection::Impl final : QuicApplication {
  Impl(Http3Connection& owner_in, Role role_in, QuicConnection& quic_in, RequestHandler& handler_in,
       Http3Limits limits_in)
      : owner(owner_in),
        role(role_in),
        quic(quic_in),
        handler(handler_in),
        limits(limits_in),
        early(limits_in.early_datagrams_max) {}
  ~Impl() override { nghttp3_conn_del(http); }

  // --- QuicApplication ---
  Continue on_handshake_completed() override;
  Continue on_stream_data(StreamId stream, Bytes data, bool fin) override;
  void on_stream_acked(StreamId stream, uint64_t bytes) override {
    nghttp3_conn_add_ack_offset(http, raw(stream), bytes);
  }
  void on_stream_unblocked(StreamId stream) override {
    nghttp3_conn_unblock_stream(http, raw(stream));
  }
  void on_stream_reset(StreamId stream, uint64_t code) override;
  void on_stream_closed(StreamId stream, uint64_t code) override;
  void on_remote_streams(uint64_t max) override {
    if (role != Role::Server) return;
    remote_streams_max = max;
    nghttp3_conn_set_max_client_streams_bidi(http, max);
  }
  void on_datagram(Bytes frame_payload) override;
  bool next_stream_chunk(StreamChunk& chunk) override;
  void on_stream_written(StreamId stream, size_t bytes) override {
    nghttp3_conn_add_write_offset(http, raw(stream), bytes);
  }
  void on_stream_blocked(StreamId stream) override { nghttp3_conn_block_stream(http, raw(stream)); }
  void on_stream_write_shut(StreamId stream) override;

  // --- called by nghttp3 ---
  int on_header(StreamId stream, nghttp3_rcbuf* name, nghttp3_rcbuf* value);
  int on_headers_end(StreamId stream, bool fin);
  void on_data(StreamId stream, Bytes data);
  nghttp3_ssize read_data(StreamId stream, nghttp3_vec* out, size_t count, uint32_t* flags);
  void on_peer_settings(const nghttp3_proto_settings& settings);

  bool create_http();
  RequestStream* find(StreamId stream) {
    if (last_stream == stream.value()) return last_record;
    const auto found = streams.find(stream);
    if (found == streams.end()) return nullptr;
    last_stream = stream.value();
    last_record = &found->second;
    return last_record;
  }
  RequestStream& add(StreamId stream);
  void erase(StreamId stream) {
    last_stream = UINT64_MAX;
    streams.erase(stream);
  }
  // The one place that turns a library error into the end of the connection.
  Continue fail(int library_error);
  void fail(HttpError code, std::string_view text) {
    quic.close_application(static_cast<uint64_t>(code), text);
  }
  void reject_malformed(StreamId stream, size_t unread);
  void tell_closed(StreamId stream, uint64_t code);
  void stop_probes_on(StreamId stream);
  void keep_early(StreamId stream, Bytes payload);
  void resume(StreamId stream) {
    nghttp3_conn_resume_stream(http, raw(stream));
    quic.wake();
  }

  Http3Connection& owner;
  Role role;
  QuicConnection& quic;
  RequestHandler& handler;
  Http3Limits limits;
  nghttp3_conn* http = nullptr;
  Instant now{};
  std::unordered_map<StreamId, RequestStream> streams;  // request streams only; nodes do not move
  uint64_t last_stream = UINT64_MAX;
  RequestStream* last_record = nullptr;
  EarlyDatagrams early;
  std::optional<StreamId> probe_stream;
  uint64_t next_new_stream = 0;  // request streams below it have been opened
  uint64_t remote_streams_max =
      QuicSettings{}.request_streams_max;  // ever, as granted to the client
  bool settings_received = false;
  bool peer_datagrams = false;
  bool peer_extended_connect = false;
  bool goaway_received = false;
  enum class Goaway : uint8_t { None, Notice, Limit } goaway_sent = Goaway::None;
};

// ---- nghttp3 callbacks ------------------------------------------------------------------------

namespace {

template <class T>
T& impl_of(void* user_data) {
  return *static_cast<T*>(user_data);
}

}  // namespace

bool Http3Connection::Impl::create_http() {
  nghttp3_callbacks callbacks{};
  callbacks.acked_stream_data = [](nghttp3_conn*, int64_t id, uint64_t length, void* user, void*) {
    if (RequestStream* stream = impl_of<Impl>(user).find(stream_of(id)))
      stream->send.acknowledge(length);
    return 0;
  };
  callbacks.stream_close = [](nghttp3_conn*, int64_t id, uint64_t code, void* user, void*) {
    Impl& impl = impl_of<Impl>(user);
    impl.tell_closed(stream_of(id), code);
    impl.erase(stream_of(id));
    return 0;
  };
  callbacks.recv_data = [](nghttp3_conn*, int64_t id, const uint8_t* data, size_t length,
                           void* user, void*) {
    impl_of<Impl>(user).on_data(stream_of(id), Bytes(data, length));
    return 0;
  };
  callbacks.deferred_consume = [](nghttp3_conn*, int64_t id, size_t consumed, void* user, void*) {
    impl_of<Impl>(user).quic.consume_stream_data(stream_of(id), consumed);
    return 0;
  };
  callbacks.begin_headers = [](nghttp3_conn*, int64_t id, void* user, void*) {
    RequestStream& stream = impl_of<Impl>(user).add(stream_of(id));
    stream.fields.clear();
    stream.field_bytes = 0;
    return 0;
  };
  callbacks.recv_header = [](nghttp3_conn*, int64_t id, int32_t, nghttp3_rcbuf* name,
                             nghttp3_rcbuf* value, uint8_t, void* user, void*) {
    return impl_of<Impl>(user).on_header(stream_of(id), name, value);
  };
  callbacks.end_headers = [](nghttp3_conn*, int64_t id, int fin, void* user, void*) {
    return impl_of<Impl>(user).on_headers_end(stream_of(id), fin != 0);
  };
  callbacks.begin_trailers = [](nghttp3_conn*, int64_t, void* user, void*) {
    // RFC 9114 4.4: after CONNECT only DATA frames.
    impl_of<Impl>(user).fail(HttpError::FrameUnexpected, "trailers after CONNECT");
    return NGHTTP3_ERR_CALLBACK_FAILURE;
  };
  callbacks.end_stream = [](nghttp3_conn*, int64_t id, void* user, void*) {
    Impl& impl = impl_of<Impl>(user);
    const RequestStream* stream = impl.find(stream_of(id));
    if (stream != nullptr && stream->headers_done && !stream->gone)
      impl.handler.on_stream_fin(impl.owner, stream_of(id));
    return 0;
  };
  callbacks.stop_sending = [](nghttp3_conn*, int64_t id, uint64_t code, void* user, void*) {
    impl_of<Impl>(user).quic.shutdown_stream_read(stream_of(id), code);
    return 0;
  };
  callbacks.reset_stream = [](nghttp3_conn*, int64_t id, uint64_t code, void* user, void*) {
    // nghttp3 found a stream error, for example a malformed message: both directions end.
    Impl& impl = impl_of<Impl>(user);
    impl.quic.shutdown_stream(stream_of(id), code);
    impl.tell_closed(stream_of(id), code);
    return 0;
  };
  callbacks.shutdown = [](nghttp3_conn*, int64_t id, void* user) {
    Impl& impl = impl_of<Impl>(user);
    impl.goaway_received = true;
    impl.handler.on_goaway(impl.owner, stream_of(id));
    return 0;
  };
  callbacks.recv_settings2 = [](nghttp3_conn*, const nghttp3_proto_settings* settings, void* user) {
    impl_of<Impl>(user).on_peer_settings(*settings);
    return 0;
  };
  nghttp3_settings settings;
  nghttp3_settings_default(&settings);
  settings.max_field_section_size = limits.field_section_max;
  settings.qpack_max_dtable_capacity = 4096;
  settings.qpack_blocked_streams = 16;
  settings.h3_datagram = 1;                                         // RFC 9297 2.1.1
  settings.enable_connect_protocol = role == Role::Server ? 1 : 0;  // RFC 9220 3
  const int rv = role == Role::Server
                     ? nghttp3_conn_server_new(&http, &callbacks, &settings, nullptr, this)
                     : nghttp3_conn_client_new(&http, &callbacks, &settings, nullptr, this);
  return rv == 0;
}

RequestStream& Http3Connection::Impl::add(StreamId id) {
  const auto [place, fresh] = streams.try_emplace(id);
  RequestStream& stream = place->second;
  if (!fresh) return stream;
  next_new_stream = std::max(next_new_stream, id.value() + 4);
  ByteWriter prefix(stream.prefix);
  prefix.varint(id.value() / 4);
  prefix.varint(0);  // Context ID 0: a whole IP packet, RFC 9484 5
  stream.prefix_size = prefix.size();
  ByteWriter probe(stream.probe);
  probe.varint(id.value() / 4);
  probe.varint(role == Role::Client ? kClientProbeContext : kServerProbeContext);
  return stream;
}

int Http3Connection::Impl::on_header(StreamId id, nghttp3_rcbuf* name, nghttp3_rcbuf* value) {
  RequestStream* stream = find(id);
  if (stream == nullptr) return 0;
  const nghttp3_vec n = nghttp3_rcbuf_get_buf(name);
  const nghttp3_vec v = nghttp3_rcbuf_get_buf(value);
  stream->field_bytes += n.len + v.len + 32;  // RFC 9114 4.2.2 counts 32 for each field
  if (stream->field_bytes > limits.field_section_max) {
    fail(HttpError::ExcessiveLoad, "header section too large");
    return NGHTTP3_ERR_CALLBACK_FAILURE;
  }
  stream->fields.push_back({.name = std::string(as_text(Bytes(n.base, n.len))),
                            .value = std::string(as_text(Bytes(v.base, v.len)))});
  return 0;
}

int Http3Connection::Impl::on_headers_end(StreamId id, bool fin) {
  RequestStream* stream = find(id);
  if (stream == nullptr) return 0;
  const HeaderFields fields = std::move(stream->fields);
  stream->fields.clear();
  if (role == Role::Client) {
    const auto status = find_field(fields, ":status");
    if (status && status->starts_with('1')) return 0;  // an interim response
    stream->headers_done = true;
    handler.on_response(owner, id, fields, fin);
  } else {
    stream->headers_done = true;
    stream->plain = !find_field(fields, ":protocol");
    handler.on_request(owner, id, fields, fin);
  }
  return 0;
}

void Http3Connection::Impl::on_data(StreamId id, Bytes data) {
  quic.consume_stream_data(id, data.size());
  const RequestStream* stream = find(id);
  if (stream != nullptr && !stream->gone) handler.on_stream_data(owner, id, data);
}

nghttp3_ssize Http3Connection::Impl::read_data(StreamId id, nghttp3_vec* out, size_t count,
                                               uint32_t* flags) {
  RequestStream* stream = find(id);
  if (stream == nullptr) return NGHTTP3_ERR_WOULDBLOCK;
  SendBuffer& send = stream->send;
  size_t used = 0;
  while (send.handed < send.chunks.size() && used < count) {
    std::vector<uint8_t>& chunk = send.chunks[send.handed++];
    out[used++] = {.base = chunk.data(), .len = chunk.size()};
  }
  if (send.fin && send.handed == send.chunks.size()) {
    *flags |= NGHTTP3_DATA_FLAG_EOF;
    return static_cast<nghttp3_ssize>(used);
  }
  // An idle tunnel: WOULDBLOCK keeps the stream open, zero bytes would end it.
  return used > 0 ? static_cast<nghttp3_ssize>(used)
                  : static_cast<nghttp3_ssize>(NGHTTP3_ERR_WOULDBLOCK);
}

void Http3Connection::Impl::on_peer_settings(const nghttp3_proto_settings& settings) {
  settings_received = true;
  peer_datagrams = settings.h3_datagram != 0;
  peer_extended_connect = settings.enable_connect_protocol != 0;
  handler.on_settings(owner);
}

// ---- QUIC events ------------------------------------------------------------------------------

Continue Http3Connection::Impl::fail(int library_error) {
  // A callback that failed has said why already.
  if (library_error != NGHTTP3_ERR_CALLBACK_FAILURE) {
    quic.close_application(nghttp3_err_infer_quic_app_error_code(library_error),
                           nghttp3_strerror(library_error));
  }
  return Continue::No;
}

Continue Http3Connection::Impl::on_handshake_completed() {
  // RFC 9114 6.2.1, 7.2.4.2: our control stream and SETTINGS, without waiting for the peer's.
  const auto control = quic.open_unidirectional_stream();
  const auto encoder = quic.open_unidirectional_stream();
  const auto decoder = quic.open_unidirectional_stream();
  if (!control || !encoder || !decoder) {
    fail(HttpError::GeneralProtocol, "the peer does not allow three unidirectional streams");
    return Continue::No;
  }
  if (const int rv = nghttp3_conn_bind_control_stream(http, raw(*control)); rv != 0)
    return fail(rv);
  if (const int rv = nghttp3_conn_bind_qpack_streams(http, raw(*encoder), raw(*decoder)); rv != 0)
    return fail(rv);
  return Continue::Yes;
}

Continue Http3Connection::Impl::on_stream_data(StreamId stream, Bytes data, bool fin) {
  const nghttp3_ssize consumed = nghttp3_conn_read_stream2(http, raw(stream), data.data(),
                                                           data.size(), fin ? 1 : 0, to_ns(now));
  if (consumed == NGHTTP3_ERR_MALFORMED_HTTP_HEADER ||
      consumed == NGHTTP3_ERR_MALFORMED_HTTP_MESSAGING) {
    // RFC 9114 4.1.2: the stream's fault, not the connection's.
    reject_malformed(stream, data.size());
    return Continue::Yes;
  }
  if (consumed < 0) return fail(static_cast<int>(consumed));
  if (quic.closing()) return Continue::No;
  quic.consume_stream_data(stream, static_cast<size_t>(consumed));
  return Continue::Yes;
}

void Http3Connection::Impl::reject_malformed(StreamId stream, size_t unread) {
  quic.consume_stream_data(stream, unread);
  nghttp3_conn_shutdown_stream_write(http, raw(stream));
  nghttp3_conn_shutdown_stream_read(http, raw(stream));
  quic.shutdown_stream(stream, static_cast<uint64_t>(HttpError::Message));
  tell_closed(stream, static_cast<uint64_t>(HttpError::Message));
}

// RFC 9297 2.1: no datagrams of a stream that has ended.
void Http3Connection::Impl::stop_probes_on(StreamId id) {
  if (probe_stream != id) return;
  probe_stream.reset();
  quic.set_probe_frame({});
}

void Http3Connection::Impl::tell_closed(StreamId id, uint64_t code) {
  RequestStream* stream = find(id);
  if (stream == nullptr || stream->gone) return;
  stream->gone = true;
  stop_probes_on(id);
  early.forget(id);
  if (stream->headers_done || role == Role::Client) handler.on_stream_closed(owner, id, code);
}

void Http3Connection::Impl::on_stream_reset(StreamId id, uint64_t code) {
  nghttp3_conn_shutdown_stream_read(http, raw(id));
  const RequestStream* stream = find(id);
  // Gone: a refusal is on its way, let it arrive.
  if (stream == nullptr || stream->gone) return;
  // Half a tunnel is none: our direction ends as well.
  quic.shutdown_stream(id, static_cast<uint64_t>(HttpError::RequestCancelled));
  tell_closed(id, code);
}

void Http3Connection::Impl::on_stream_write_shut(StreamId id) {
  nghttp3_conn_shutdown_stream_write(http, raw(id));
  const RequestStream* stream = find(id);
  if (stream == nullptr || stream->gone) return;
  // RFC 9114 4.1: a server may have "enough of the request" before its response, which must still
  // be read.
  if (role == Role::Client && !stream->headers_done) return;
  quic.shutdown_stream(id, static_cast<uint64_t>(HttpError::RequestCancelled));
  tell_closed(id, static_cast<uint64_t>(HttpError::RequestCancelled));
}

void Http3Connection::Impl::on_stream_closed(StreamId id, uint64_t code) {
  const int rv = nghttp3_conn_close_stream(http, raw(id), code);
  if (rv == NGHTTP3_ERR_STREAM_NOT_FOUND) {
    erase(id);
    return;
  }
  if (rv != 0) fail(rv);
}

bool Http3Connection::Impl::next_stream_chunk(StreamChunk& chunk) {
  std::array<nghttp3_vec, StreamChunk::kPiecesMax> vec;
  int64_t id = -1;
  int fin = 0;
  const nghttp3_ssize count = nghttp3_conn_writev_stream(http, &id, &fin, vec.data(), vec.size());
  if (count < 0) {
    fail(static_cast<int>(count));
    return false;
  }
  chunk.stream = id;
  chunk.fin = fin != 0;
  chunk.piece_count = static_cast<size_t>(count);
  for (size_t i = 0; i < chunk.piece_count; ++i) chunk.pieces[i] = Bytes(vec[i].base, vec[i].len);
  return true;
}

// ---- datagrams --------------------------------------------------------------------------------

void Http3Connection::Impl::on_datagram(Bytes frame_payload) {
  ByteReader in(frame_payload);
  const auto quarter = in.varint();
  if (!quarter || *quarter > kQuarterStreamIdMax) {
    fail(HttpError::Datagram, "bad quarter stream id");  // RFC 9297 2.1
    return;
  }
  const StreamId id(*quarter * 4);
  RequestStream* stream = find(id);
  if (stream == nullptr) {
    if (role == Role::Server && *quarter >= remote_streams_max) {
      fail(HttpError::Id, "datagram for a stream beyond the limit");  // RFC 9297 2.1
      return;
    }
    // Not opened yet: keep a few for about a round trip; closed already: drop (RFC 9297 2.1).
    if (role == Role::Server && id.value() >= next_new_stream) keep_early(id, in.rest());
    return;
  }
  if (stream->gone) return;
  if (stream->plain) {
    // RFC 9297 2: the request's semantics define no datagrams.
    tell_closed(id, static_cast<uint64_t>(HttpError::Datagram));
    owner.abort_stream(id, HttpError::Datagram);
  } else if (stream->datagrams) {
    handler.on_http_datagram(owner, id, in.rest());
  } else {
    keep_early(id, in.rest());  // the request is still being decided upon
  }
}

void Http3Connection::Impl::keep_early(StreamId id, Bytes payload) {
  early.keep(now, quic.stats().smoothed_rtt, id, payload);
}

// ---- the public face --------------------------------------------------------------------------

Http3Connection::Http3Connection(Role role, std::unique_ptr<QuicConnection> quic,
                                 RequestHandler& handler, Http3Limits limits)
    : quic_(std::move(quic)), impl_(std::make_unique<Impl>(*this, role, *quic_, handler, limits)) {
  MASQUE_ASSERT(impl_->create_http());
  if (role == Role::Server)
    nghttp3_conn_set_max_client_streams_bidi(impl_->http, impl_->remote_streams_max);
  quic_->set_application(impl_.get());
}

Http3Connection::~Http3Connection() = default;

void Http3Connection::on_removed() { impl_->handler.on_connection_gone(*this); }

void Http3Connection::on_datagram(Instant now, const ReceivedDatagram& datagram) {
  impl_->now = now;
  quic_->on_datagram(now, datagram);
}

QuicConnection::Flushed Http3Connection::poll_transmit(Instant now, TransmitBatch& batch) {
  impl_->now = now;
  return quic_->poll_transmit(now, batch);
}

void Http3Connection::on_timeout(Instant now) {
  impl_->now = now;
  quic_->on_timeout(now);
}

std::optional<StreamId> Http3Connection::open_request(Instant now, const HeaderFields& fields) {
  impl_->now = now;
  // RFC 9114 5.2: no new requests after GOAWAY.
  if (impl_->goaway_received || quic_->closing() || !quic_->handshake_completed())
    return std::nullopt;
  const auto stream = quic_->open_bidirectional_stream();
  if (!stream) return std::nullopt;
  impl_->add(*stream);
  const std::vector<nghttp3_nv> nv = to_nv(fields);
  const nghttp3_data_reader reader{.read_data = [](nghttp3_conn*, int64_t id, nghttp3_vec* vec,
                                                   size_t count, uint32_t* flags, void* user,
                                                   void*) {
    return impl_of<Impl>(user).read_data(stream_of(id), vec, count, flags);
  }};
  if (nghttp3_conn_submit_request(impl_->http, raw(*stream), nv.data(), nv.size(), &reader,
                                  nullptr) != 0) {
    return std::nullopt;
  }
  quic_->wake();
  return stream;
}

void Http3Connection::respond(StreamId stream, const HeaderFields& fields, StreamEnd end) {
  if (impl_->find(stream) == nullptr) return;
  const std::vector<nghttp3_nv> nv = to_nv(fields);
  const nghttp3_data_reader reader{.read_data = [](nghttp3_conn*, int64_t id, nghttp3_vec* vec,
                                                   size_t count, uint32_t* flags, void* user,
                                                   void*) {
    return impl_of<Impl>(user).read_data(stream_of(id), vec, count, flags);
  }};
  const bool open = end == StreamEnd::KeepOpen;
  nghttp3_conn_submit_response(impl_->http, raw(stream), nv.data(), nv.size(),
                               open ? &reader : nullptr);
  if (!open) {
    // The answer is final: whatever the client still sends on the stream is not wanted (RFC
    // 9114 4.1).
    quic_->shutdown_stream_read(stream, static_cast<uint64_t>(HttpError::NoError));
    impl_->find(stream)->gone = true;
  }
  quic_->wake();
}

bool Http3Connection::send_stream_data(StreamId id, Bytes data) {
  RequestStream* stream = impl_->find(id);
  if (stream == nullptr || stream->gone || stream->send.fin) return false;
  if (data.empty()) return true;
  if (stream->send.bytes + data.size() > impl_->limits.stream_send_buffer_max) return false;
  stream->send.bytes += data.size();
  stream->send.chunks.emplace_back(data.begin(), data.end());
  impl_->resume(id);
  return true;
}

void Http3Connection::finish_stream(StreamId id) {
  RequestStream* stream = impl_->find(id);
  if (stream == nullptr || stream->gone) return;
  stream->send.fin = true;
  impl_->resume(id);
}

void Http3Connection::abort_stream(StreamId id, HttpError code) {
  RequestStream* stream = impl_->find(id);
  if (stream == nullptr) return;
  stream->gone = true;
  impl_->stop_probes_on(id);
  nghttp3_conn_shutdown_stream_write(impl_->http, raw(id));
  nghttp3_conn_shutdown_stream_read(impl_->http, raw(id));
  quic_->shutdown_stream(id, static_cast<uint64_t>(code));
}

void Http3Connection::send_goaway() {
  switch (impl_->goaway_sent) {
    case Impl::Goaway::None:
      impl_->goaway_sent = Impl::Goaway::Notice;
      nghttp3_conn_submit_shutdown_notice(impl_->http);
      break;
    case Impl::Goaway::Notice:
      impl_->goaway_sent = Impl::Goaway::Limit;
      nghttp3_conn_shutdown(impl_->http);
      break;
    case Impl::Goaway::Limit:
      return;  // a third could name a higher ID than the second
  }
  quic_->wake();
}

void Http3Connection::close(Instant now, HttpError code, std::string_view reason) {
  impl_->now = now;
  quic_->close_application(static_cast<uint64_t>(code), reason);
}

void Http3Connection::enable_datagrams(Instant now, StreamId id) {
  RequestStream* stream = impl_->find(id);
  if (stream == nullptr || stream->gone || stream->datagrams) return;
  stream->datagrams = true;
  impl_->probe_stream = id;
  quic_->set_probe_frame(Bytes(stream->probe).first(stream->prefix_size));
  for (const auto& payload : impl_->early.take(now, id))
    impl_->handler.on_http_datagram(*this, id, payload);
}

SendResult Http3Connection::send_packet(Instant now, StreamId id, const PacketSlices& packet,
                                        TrafficClass traffic_class, TransmitBatch& batch) {
  const RequestStream* stream = impl_->find(id);
  // RFC 9297 2.1: not after the stream is closed, and not before both settings are exchanged.
  if (stream == nullptr || stream->gone || stream->send.fin || !impl_->peer_datagrams)
    return SendResult::Closed;
  impl_->now = now;
  return quic_->send_datagram(now, Bytes(stream->prefix).first(stream->prefix_size), packet,
                              traffic_class, batch);
}

size_t Http3Connection::packet_size_max(StreamId id) const {
  const RequestStream* stream = impl_->find(id);
  const size_t frame = quic_->datagram_size_max();
  if (stream == nullptr || frame < stream->prefix_size) return 0;
  return frame - stream->prefix_size;
}

SendingPace Http3Connection::pace() const { return quic_->pace(); }

std::optional<IpAddress> Http3Connection::local_address() const {
  const IpAddress address = quic_->path().local.address;
  return address.is_any() ? std::nullopt : std::optional(address);
}

bool Http3Connection::usable() const { return why_not().empty(); }

std::string Http3Connection::why_not() const {
  if (quic_->closing()) return "the connection is closing";
  if (!impl_->settings_received) return "the peer has not sent its SETTINGS";
  if (impl_->role == Role::Client && !impl_->peer_extended_connect) {
    return "the server does not offer extended CONNECT (SETTINGS_ENABLE_CONNECT_PROTOCOL)";
  }
  if (!impl_->peer_datagrams)
    return "the peer does not offer HTTP Datagrams (SETTINGS_H3_DATAGRAM)";
  if (!quic_->datagrams_negotiated())
    return "the peer does not accept QUIC DATAGRAM frames (max_datagram_frame_size)";
  return {};
}

ConnectionEnd Http3Connection::end() const {
  const auto reason = quic_->close_reason();
  if (!reason) return {.why = "the connection ended"};
  if (reason->cause != CloseReason::Cause::Peer) return {.why = reason->text};
  // RFC 9000 20.1, RFC 9114 8.1.
  const uint64_t no_error = reason->application ? static_cast<uint64_t>(HttpError::NoError) : 0;
  if (reason->code == no_error) return {.by = ConnectionEnd::By::Goodbye, .why = reason->text};
  return {.why = std::format("closed by the peer with {} {:#x}{}{}",
                             reason->application ? "HTTP/3" : "QUIC", reason->code,
                             reason->text.empty() ? "" : ": ", reason->text)};
}

}  // namespace masque
