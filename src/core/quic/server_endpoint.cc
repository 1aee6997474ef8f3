// SPDX-License-Identifier: Apache-2.0
#include "core/quic/server_endpoint.h"

#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/mutant.h"
#include "core/quic/ngtcp2_address.h"

namespace masque {

namespace {

constexpr size_t kInitialDatagramMin = 1200;  // RFC 9000 14.1
constexpr size_t kRepliesMax = 256;           // stateless answers of one turn; more are dropped
constexpr Duration kRetryTokenLife = 10s;     // RFC 9000 8.1.3: short
constexpr Duration kRegularTokenLife = 24h;
constexpr Duration kHeldInitialLife = 200ms;  // its other half travels in the same flight

}  // namespace

struct QuicServerEndpoint::Slot final : ConnectionIdRegistry {
  Slot(QuicServerEndpoint& endpoint_in, uint32_t index_in)
      : endpoint(endpoint_in), index(index_in) {}

  void add_connection_id(const ConnectionId& id) override {
    ids.push_back(id);
    endpoint.by_id_.insert_or_assign(id, index);
  }
  void remove_connection_id(const ConnectionId& id) override {
    std::erase(ids, id);
    endpoint.by_id_.erase(id);
  }

  QuicServerEndpoint& endpoint;
  uint32_t index;
  std::unique_ptr<EndpointConnection> connection;
  std::vector<ConnectionId> ids;
  bool half_open = true;
  bool touched = false;
  bool removal_told = false;
};

QuicServerEndpoint::QuicServerEndpoint(Options options, TlsContext& tls, Rng& rng,
                                       ConnectionFactory& factory)
    : options_(std::move(options)),
      tls_(&tls),
      rng_(rng),
      factory_(factory),
      used_tokens_(kRegularTokenLife) {}

QuicServerEndpoint::~QuicServerEndpoint() {
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i]) remove(i);
  }
}

void QuicServerEndpoint::for_each(const std::function<void(EndpointConnection&)>& visit) {
  for (const auto& slot : slots_) {
    if (slot) visit(*slot->connection);
  }
}

// ---- receive ----------------------------------------------------------------------------------

void QuicServerEndpoint::on_datagram(Instant now, const ReceivedDatagram& datagram) {
  ++counters_.datagrams;
  if (datagram.bytes.empty()) {  // legal in UDP, and the library would abort
    ++counters_.malformed;
    return;
  }
  ngtcp2_version_cid header;
  const int rv = ngtcp2_pkt_decode_version_cid(&header, datagram.bytes.data(),
                                               datagram.bytes.size(), kConnectionIdLength);
  if (rv == NGTCP2_ERR_VERSION_NEGOTIATION) {
    // RFC 9000 5.2.2: only to datagrams that could start a connection.
    if (datagram.bytes.size() >= kInitialDatagramMin && header.dcidlen <= 255 &&
        header.scidlen <= 255) {
      send_version_negotiation(datagram, Bytes(header.dcid, header.dcidlen),
                               Bytes(header.scid, header.scidlen));
    }
    return;
  }
  if (rv != 0 || header.dcidlen > ConnectionId::kLengthMax) {
    ++counters_.malformed;
    return;
  }
  const ConnectionId dcid(Bytes(header.dcid, header.dcidlen));
  if (const auto found = by_id_.find(dcid); found != by_id_.end()) {
    deliver(now, *slots_[found->second], datagram);
    return;
  }
  const bool long_header = (datagram.bytes[0] & 0x80) != 0;
  if (long_header) {
    on_new_connection(now, datagram);
  } else {
    ++counters_.unknown_connection;
    send_stateless_reset(now, datagram, dcid);
  }
}

void QuicServerEndpoint::deliver(Instant now, Slot& slot, const ReceivedDatagram& datagram) {
  slot.connection->on_datagram(now, datagram);
  if (slot.half_open && slot.connection->quic().handshake_completed()) {
    slot.half_open = false;
    --half_open_;
  }
}

void QuicServerEndpoint::on_new_connection(Instant now, const ReceivedDatagram& datagram) {
  ngtcp2_pkt_hd header;
  // ngtcp2_accept refuses what is not an acceptable first Initial, small datagrams included.
  if (ngtcp2_accept(&header, datagram.bytes.data(), datagram.bytes.size()) != 0) {
    ++counters_.unknown_connection;
    return;
  }
  const ConnectionId dcid = from_ngtcp2(header.dcid);
  const ConnectionId scid = from_ngtcp2(header.scid);
  const Bytes token(header.token, header.tokenlen);
  const Token checked = check_token(now, datagram.path, header.version, dcid, token);
  if (checked.invalid_retry && !mutant("retry_token.invalid.remove")) {
    ++counters_.bad_tokens;
    send_invalid_token(datagram, header.version, dcid, scid);
    return;
  }
  if (draining_ || live_ >= options_.connections_max + (mutant("connections.limit") ? 1 : 0) ||
      (half_open() >= options_.half_open_max && !mutant("half_open.limit.remove"))) {
    ++counters_.connections_refused;
    return;
  }
  const bool proven =
      checked.kind != ServerStart::Token::None || (mutant("address.any_token") && !token.empty());
  const bool must_prove =
      options_.retry == RetryPolicy::Always ||
      (options_.retry == RetryPolicy::Auto && half_open() >= options_.half_open_before_retry);
  if (!proven && must_prove && !mutant("address.prove.remove")) {
    send_retry(now, datagram, header.version, dcid, scid);
    return;
  }
  create_connection(now, datagram,
                    {.path = datagram.path,
                     .version = header.version,
                     .client_chosen_dcid = dcid,
                     .client_scid = scid,
                     .original_dcid = checked.original_dcid,
                     .token_kind = checked.kind,
                     .token = std::vector<uint8_t>(token.begin(), token.end()),
                     .static_secret = options_.static_secret});
}

// RFC 9000 8.1.2-8.1.4: a bad Retry token ends the attempt, a bad or used NEW_TOKEN token counts as
// none.
QuicServerEndpoint::Token QuicServerEndpoint::check_token(Instant now, const NetworkPath& path,
                                                          uint32_t version,
                                                          const ConnectionId& dcid, Bytes token) {
  if (token.empty()) return {};
  const PathStorage storage(path);
  const ngtcp2_addr& remote = storage.path.remote;
  const auto life = [](Duration d) { return static_cast<ngtcp2_duration>(d.count()); };
  if (token[0] == NGTCP2_CRYPTO_TOKEN_MAGIC_RETRY2) {
    ngtcp2_cid original{};
    const ngtcp2_cid now_used = to_ngtcp2(dcid);
    const int rv = ngtcp2_crypto_verify_retry_token2(
        &original, token.data(), token.size(), options_.static_secret.data(),
        options_.static_secret.size(), version, remote.addr, remote.addrlen, &now_used,
        life(mutant("retry_token.life.remove") ? 24h : kRetryTokenLife), to_ns(now));
    if (rv != 0 && !mutant("retry_token.verify.remove")) return {.invalid_retry = true};
    return {.kind = ServerStart::Token::Retry, .original_dcid = from_ngtcp2(original)};
  }
  if (token[0] == NGTCP2_CRYPTO_TOKEN_MAGIC_REGULAR) {
    const int rv = ngtcp2_crypto_verify_regular_token(
        token.data(), token.size(), options_.static_secret.data(), options_.static_secret.size(),
        remote.addr, remote.addrlen,
        life(mutant("new_token.life.remove") ? 24h * 365 : kRegularTokenLife), to_ns(now));
    const bool genuine = rv == 0 || mutant("new_token.verify.remove");
    const bool used = genuine && used_tokens_.contains(token) && !mutant("new_token.once.remove");
    if (genuine && !used) return {.kind = ServerStart::Token::Regular};
  }
  ++counters_.bad_tokens;
  return {};
}

void QuicServerEndpoint::create_connection(Instant now, const ReceivedDatagram& datagram,
                                           ServerStart start) {
  auto quic = QuicConnection::create_server(now, options_.quic, *tls_, rng_, start);
  if (!quic) {
    log_error("quic.create_failed");
    ++counters_.connections_refused;
    return;
  }
  uint32_t index = 0;
  if (free_slots_.empty()) {
    index = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    index = free_slots_.back();
    free_slots_.pop_back();
  }
  slots_[index] = std::make_unique<Slot>(*this, index);
  Slot& slot = *slots_[index];
  ++live_;
  ++half_open_;
  QuicConnection& raw = *quic;
  slot.connection = factory_.create(std::move(quic));
  raw.set_wake([this, &slot] {
    if (slot.touched) return;
    slot.touched = true;
    touched_.push_back(slot.index);
  });
  // Until the client uses one of our IDs its packets carry the one that it chose.
  slot.add_connection_id(start.client_chosen_dcid);
  raw.set_registry(&slot);

  const auto result = raw.on_datagram(now, datagram);
  if (result == QuicConnection::ReadResult::Ok) {
    ++counters_.connections_created;
    // Not before: half a ClientHello, which comes again, has used nothing.
    if (start.token_kind == ServerStart::Token::Regular) used_tokens_.add(now, start.token);
    raw.wake();
    feed_held(now, slot, start.path, start.client_chosen_dcid);
    return;
  }
  remove(index);
  if (result == QuicConnection::ReadResult::IncompleteInitial)
    hold(now, datagram, start.client_chosen_dcid);
}

// The other half of a large ClientHello may arrive first: it waits here for the half with the
// start.
void QuicServerEndpoint::hold(Instant now, const ReceivedDatagram& datagram,
                              const ConnectionId& dcid) {
  std::erase_if(held_, [now](const HeldInitial& held) { return held.until <= now; });
  if (held_.size() >= options_.held_initials_max && !mutant("held.limit.remove")) return;
  ++counters_.held_initials;
  held_.push_back({.path = datagram.path,
                   .dcid = dcid,
                   .ecn = datagram.ecn,
                   .bytes = std::vector<uint8_t>(datagram.bytes.begin(), datagram.bytes.end()),
                   .until = now + kHeldInitialLife});
}

void QuicServerEndpoint::feed_held(Instant now, Slot& slot, const NetworkPath& path,
                                   const ConnectionId& dcid) {
  for (HeldInitial& held : held_) {
    if (held.dcid != dcid || held.path != path || held.until <= now) continue;
    held.until = now;  // forgotten by the next hold()
    deliver(now, slot, {.path = held.path, .ecn = held.ecn, .bytes = held.bytes});
  }
}

// ---- stateless answers ------------------------------------------------------------------------

void QuicServerEndpoint::queue_reply(const NetworkPath& path, Bytes bytes) {
  if (replies_.size() >= kRepliesMax && !mutant("replies.limit.remove")) return;
  replies_.push_back({.path = path, .bytes = std::vector<uint8_t>(bytes.begin(), bytes.end())});
}

void QuicServerEndpoint::send_version_negotiation(const ReceivedDatagram& datagram, Bytes dcid,
                                                  Bytes scid) {
  std::array<uint8_t, TransmitBatch::kDatagramMax> out;
  std::array<uint8_t, 5> random;
  rng_.fill(random);
  // RFC 9000 15: one reserved version keeps clients honest.
  const uint32_t versions[] = {0x0a0a0a0a | (load_be32(random.data()) & 0xf0f0f0f0),
                               NGTCP2_PROTO_VER_V1};
  const ngtcp2_ssize n =
      ngtcp2_pkt_write_version_negotiation(out.data(), out.size(), random[4], scid.data(),
                                           scid.size(), dcid.data(), dcid.size(), versions, 2);
  if (n <= 0) return;
  ++counters_.version_negotiations;
  queue_reply(datagram.path, Bytes(out).first(static_cast<size_t>(n)));
}

void QuicServerEndpoint::send_retry(Instant now, const ReceivedDatagram& datagram, uint32_t version,
                                    const ConnectionId& dcid, const ConnectionId& scid) {
  ngtcp2_cid retry_scid;
  retry_scid.datalen = kConnectionIdLength;
  rng_.fill(MutableBytes(retry_scid.data, retry_scid.datalen));
  const ngtcp2_cid original = to_ngtcp2(dcid);
  const ngtcp2_cid client = to_ngtcp2(scid);
  const PathStorage storage(datagram.path);
  std::array<uint8_t, NGTCP2_CRYPTO_MAX_RETRY_TOKENLEN2> token;
  const ngtcp2_ssize token_length = ngtcp2_crypto_generate_retry_token2(
      token.data(), options_.static_secret.data(), options_.static_secret.size(), version,
      storage.path.remote.addr, storage.path.remote.addrlen, &retry_scid, &original, to_ns(now));
  if (token_length < 0) return;
  std::array<uint8_t, TransmitBatch::kDatagramMax> out;
  const ngtcp2_ssize n =
      ngtcp2_crypto_write_retry(out.data(), out.size(), version, &client, &retry_scid, &original,
                                token.data(), static_cast<size_t>(token_length));
  if (n <= 0) return;
  ++counters_.retries;
  queue_reply(datagram.path, Bytes(out).first(static_cast<size_t>(n)));
}

void QuicServerEndpoint::send_invalid_token(const ReceivedDatagram& datagram, uint32_t version,
                                            const ConnectionId& dcid, const ConnectionId& scid) {
  const ngtcp2_cid client = to_ngtcp2(scid);
  const ngtcp2_cid ours = to_ngtcp2(dcid);
  std::array<uint8_t, TransmitBatch::kDatagramMax> out;
  const ngtcp2_ssize n = ngtcp2_crypto_write_connection_close(
      out.data(), out.size(), version, &client, &ours, NGTCP2_INVALID_TOKEN, nullptr, 0);
  if (n > 0) queue_reply(datagram.path, Bytes(out).first(static_cast<size_t>(n)));
}

void QuicServerEndpoint::send_stateless_reset(Instant now, const ReceivedDatagram& datagram,
                                              const ConnectionId& dcid) {
  constexpr size_t kResetMin = 21;  // RFC 9000 10.3: below that it would not look like a packet
  constexpr size_t kResetUsual = 43;
  if (datagram.bytes.size() <= kResetMin) return;
  if (now - reset_window_ >= 1s) {
    reset_window_ = now;
    resets_in_window_ = 0;
  }
  if (++resets_in_window_ > options_.stateless_resets_per_second && !mutant("reset.rate.remove")) {
    return;
  }
  // RFC 9000 10.3.3: smaller than what caused it, or two endpoints could reset each other for ever.
  const size_t size =
      std::min(kResetUsual, datagram.bytes.size() - (mutant("reset.size.limit") ? 0 : 1));
  ngtcp2_stateless_reset_token token;
  const ngtcp2_cid id = to_ngtcp2(dcid);
  if (ngtcp2_crypto_generate_stateless_reset_token(token.data, options_.static_secret.data(),
                                                   options_.static_secret.size(), &id) != 0) {
    return;
  }
  std::array<uint8_t, kResetUsual> random;
  rng_.fill(random);
  std::array<uint8_t, kResetUsual> out;
  const ngtcp2_ssize n = ngtcp2_pkt_write_stateless_reset2(out.data(), size, &token, random.data(),
                                                           size - sizeof(token.data));
  if (n <= 0) return;
  ++counters_.stateless_resets;
  queue_reply(datagram.path, Bytes(out).first(static_cast<size_t>(n)));
}

// ---- transmit and timers ----------------------------------------------------------------------

QuicConnection::Flushed QuicServerEndpoint::poll_transmit(Instant now, TransmitBatch& batch) {
  while (!replies_.empty()) {
    const MutableBytes room = batch.room();
    if (room.empty()) return QuicConnection::Flushed::Full;
    const Reply& reply = replies_.back();
    std::ranges::copy(reply.bytes, room.begin());
    batch.commit(reply.path, Ecn::NotEct, reply.bytes.size());
    replies_.pop_back();
  }
  while (!touched_.empty()) {
    const uint32_t index = touched_.back();
    Slot* slot = slots_[index].get();
    if (slot == nullptr || !slot->touched) {
      touched_.pop_back();
      continue;
    }
    // Forgotten first: a connection that wakes itself while it writes gets another turn.
    touched_.pop_back();
    slot->touched = false;
    if (slot->connection->poll_transmit(now, batch) == QuicConnection::Flushed::Full) {
      slot->touched = true;
      touched_.push_back(index);
      return QuicConnection::Flushed::Full;
    }
    settle(now, index);
  }
  return QuicConnection::Flushed::All;
}

void QuicServerEndpoint::settle(Instant, uint32_t index) {
  Slot& slot = *slots_[index];
  if (slot.connection->quic().dead()) {
    remove(index);
    return;
  }
  if (slot.connection->quic().draining()) tell_removed(slot);
  deadlines_.set(index, slot.connection->quic().next_timeout());
}

std::optional<Instant> QuicServerEndpoint::next_timeout() const { return deadlines_.next(); }

void QuicServerEndpoint::on_timeout(Instant now) {
  while (const auto index = deadlines_.pop_due(now)) {
    Slot& slot = *slots_[*index];
    slot.connection->on_timeout(now);
    // Its poll_transmit sends, settles the next timer or removes it.
    slot.connection->quic().wake();
  }
}

// What the connection carried does not wait for the draining period of three PTO.
void QuicServerEndpoint::tell_removed(Slot& slot) {
  if (!std::exchange(slot.removal_told, true)) slot.connection->on_removed();
}

void QuicServerEndpoint::remove(uint32_t index) {
  Slot& slot = *slots_[index];
  slot.connection->quic().set_registry(nullptr);
  tell_removed(slot);
  for (const ConnectionId& id : slot.ids) by_id_.erase(id);
  if (slot.half_open) --half_open_;
  deadlines_.set(index, std::nullopt);
  slots_[index].reset();
  free_slots_.push_back(index);
  --live_;
}

}  // namespace masque
