// SPDX-License-Identifier: Apache-2.0
// Where QuicConnection and the path layer meet: agreeing on it, writing packets through it, reading
// what it hands on.
#include <algorithm>
#include <cstring>

#include "core/quic/quic_connection_impl.h"

namespace masque {

namespace {

constexpr std::string_view kClientLabel = "EXPORTER-masque-vpn path 1 client";
constexpr std::string_view kServerLabel = "EXPORTER-masque-vpn path 1 server";

std::unique_ptr<PathProtection> protection_of(const TlsSession& tls, std::string_view label) {
  std::array<uint8_t, PathProtection::kSecretSize> secret;
  if (!tls.export_key(label, secret)) return nullptr;
  return tls.path_protection(secret);
}

}  // namespace

std::optional<PathOffer> QuicConnection::offer_path_layer(const PathSettings& settings) {
  Impl& impl = *impl_;
  if (impl.path_layer) return PathOffer{};
  if (settings.mode == ResilienceMode::Off || impl.state != Impl::State::Open) return std::nullopt;
  // Path packets carry an ID of the same length in its place.
  if (ngtcp2_conn_get_dcid(impl.connection)->datalen != kPathIdLength) return std::nullopt;
  const bool client = impl.role == Impl::Role::Client;
  PathLayer::Keys keys{.send = protection_of(*impl.tls, client ? kClientLabel : kServerLabel),
                       .receive = protection_of(*impl.tls, client ? kServerLabel : kClientLabel)};
  if (!keys.send || !keys.receive) return std::nullopt;
  impl.path_layer = std::make_unique<PathLayer>(settings, std::move(keys), stats().latest_rtt);
  std::vector<ngtcp2_cid> ids(ngtcp2_conn_get_scid(impl.connection, nullptr));
  ngtcp2_conn_get_scid(impl.connection, ids.data());
  for (const ngtcp2_cid& id : ids) impl.add_path_id(from_ngtcp2(id));
  return PathOffer{};
}

bool QuicConnection::start_path_layer(const PathSettings& settings, const PathOffer& peer) {
  Impl& impl = *impl_;
  if (!impl.path_layer || impl.path_writes) return false;
  const ErasureCode code = peer.reads(settings.code) ? settings.code : ErasureCode::SlidingWindow;
  if (!peer.reads(code)) return false;
  impl.path_layer->use_code(code);
  impl.path_writes = true;
  impl.wake();
  return true;
}

void QuicConnection::Impl::add_path_id(const ConnectionId& id) {
  if (!path_layer || id.size() != kPathIdLength) return;
  const PathId path = path_layer->add_connection_id(id.bytes());
  if (registry != nullptr) registry->add_connection_id(ConnectionId(path));
}

void QuicConnection::Impl::remove_path_id(const ConnectionId& id) {
  if (!path_layer) return;
  const auto path = path_layer->remove_connection_id(id.bytes());
  if (path && registry != nullptr) registry->remove_connection_id(ConnectionId(*path));
}

std::optional<PathFigures> QuicConnection::path_figures(Instant now) {
  if (!impl_->path_writes) return std::nullopt;
  return impl_->path_layer->figures(now);
}

DatagramOrigin QuicConnection::datagram_origin() const { return impl_->origin; }

void QuicConnection::Impl::on_quic_packet(Instant now, const PathArrival& arrival,
                                          const DatagramOrigin& origin_in, MutableBytes packet) {
  if (state != State::Open || close_pending) return;
  // It would count as received from the new address, and allow as much more to be sent there.
  if (arrival.rebuilt && validating) return;
  origin = origin_in;
  const NetworkPath& where =
      arrival.rebuilt ? from_ngtcp2(*ngtcp2_conn_get_path(connection)) : arrival.path;
  static_cast<void>(read(now, where, arrival.ecn, packet));
  origin = {};
}

// Nobody has answered for more than a probe timeout: the peer may have lost the connection, and
// then knows what to say to QUIC's own connection IDs only (stateless reset, RFC 9000 10.3).
bool QuicConnection::Impl::unanswered(Instant now) const {
  return unanswered_since && now - *unanswered_since > pto();
}

// The packet lies behind the headroom: it becomes a path packet, or moves to the front as it is.
// Long headers, probes of the path and what goes to another path stay plain.
size_t QuicConnection::Impl::wrap(TransmitBatch& batch, size_t length, Instant now) {
  if (!unanswered_since) unanswered_since = now;
  const MutableBytes room = batch.room();
  const uint8_t first_byte = room[kPathHeaderSize];
  const bool short_header = (first_byte & 0x80) == 0;
  constexpr size_t kSmallest = kPathPrefixSize + PathProtection::kSampleSize;
  if (short_header && length >= kSmallest && length + PathSender::kOverhead <= payload_limit() &&
      ngtcp2_path_eq(ngtcp2_conn_get_path(connection), &path_storage.path) != 0 && !validating &&
      !unanswered(now)) {
    path_layer->wrap(now, writing_class, room, length);
    return length + kPathHeaderSize;
  }
  std::memmove(room.data(), room.data() + kPathHeaderSize, length);
  return length;
}

QuicConnection::Flushed QuicConnection::Impl::write_path_packets(Instant now,
                                                                 TransmitBatch& batch) {
  // A turn cannot owe more: what is due beyond it goes out in the next.
  constexpr int kPacketsMax = 256;
  if (validating) return Flushed::All;
  const NetworkPath where = from_ngtcp2(*ngtcp2_conn_get_path(connection));
  for (int i = 0; i < kPacketsMax; ++i) {
    const MutableBytes room = batch.room();
    if (room.empty()) return Flushed::Full;
    const size_t size =
        path_layer->poll_transmit(now, room.first(std::min(room.size(), payload_limit())));
    if (size == 0) break;
    batch.commit(where, last_ecn, size);
  }
  return Flushed::All;
}

void QuicConnection::Impl::repeat_later(Instant now, Bytes packet) {
  if (settings.path_layer == QuicSettings::PathLayerUse::None) return;
  repeater.keep(now, packet);
}

QuicConnection::Flushed QuicConnection::Impl::write_repeated(Instant now, TransmitBatch& batch) {
  for (; const auto packet = repeater.due(now); repeater.pop()) {
    if (validating || (credit && !credit->covers_copy(packet->size()))) continue;
    const MutableBytes room = batch.room();
    if (room.size() < packet->size()) return Flushed::Full;
    std::ranges::copy(*packet, room.begin());
    if (credit) credit->on_copy_sent(packet->size());
    batch.commit(from_ngtcp2(*ngtcp2_conn_get_path(connection)), last_ecn, packet->size());
  }
  return Flushed::All;
}

}  // namespace masque
