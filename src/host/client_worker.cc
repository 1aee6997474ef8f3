// SPDX-License-Identifier: Apache-2.0
#include "host/client_worker.h"

#include <net/if.h>

#include <algorithm>
#include <format>

#include "base/log.h"
#include "host/clock.h"
#include "host/packet_turn.h"

namespace masque {

std::string explain(const CloseReason& reason) {
  switch (reason.cause) {
    case CloseReason::Cause::Local:
    case CloseReason::Cause::Tls:
    case CloseReason::Cause::Transport:
      return reason.text;
    case CloseReason::Cause::IdleTimeout:
      return "nothing was heard from the gateway for too long";
    case CloseReason::Cause::HandshakeTimeout:
      return "no answer from the gateway";
    case CloseReason::Cause::StatelessReset:
      return "the gateway was restarted";
    case CloseReason::Cause::VersionNegotiation:
      return "the peer does not speak QUIC version 1";
    case CloseReason::Cause::Peer:
      break;
  }
  // RFC 9001 4.8: 0x100 + TLS alert.
  if (!reason.application && reason.code >= 0x100 && reason.code < 0x200) {
    const uint64_t alert = reason.code - 0x100;
    switch (alert) {
      case 42:
      case 43:
      case 44:
      case 45:
      case 46:
      case 48:
      case 49:
      case 116:
        return std::format(
            "the gateway refused our certificate (TLS alert {}): is it expired, revoked, or of "
            "another CA?",
            alert);
      case 112:
        return "the gateway does not know the server name";
      case 120:
        return "the peer does not offer HTTP/3 (no common ALPN)";
      default:
        return std::format("the gateway ended the TLS handshake (alert {})", alert);
    }
  }
  if (!reason.text.empty()) return "the gateway closed the connection: " + reason.text;
  return std::format("the gateway closed the connection ({} {:#x})",
                     reason.application ? "HTTP/3" : "QUIC", reason.code);
}

ClientWorker::ClientWorker(EventLoop& loop, TunDevice& tun, TunnelClient& client, TlsContext& tls,
                           Resolver& resolver, Options options)
    : loop_(loop),
      tun_(tun),
      client_(client),
      tls_(tls),
      resolver_(resolver),
      options_(std::move(options)),
      io_(tun) {}

ClientWorker::~ClientWorker() {
  loop_.remove(tun_.fd());
  if (network_) loop_.remove(network_->fd());
  drop_connection();
}

Result<void, SysError> ClientWorker::start() {
  TRY_VOID(loop_.add(tun_.fd(), tun_interest_, [this](EventLoop::Ready ready) { on_tun(ready); }));
  loop_.set_on_deadline([this](Instant now) { on_deadline(now); });
  loop_.set_on_turn([this] { end_turn(); });
  TRY_VOID(watch_network());
  with_client([](TunnelClient& client) { client.start(); });
  return {};
}

// ---- the network ------------------------------------------------------------------------------

Result<void, SysError> ClientWorker::watch_network() {
  TRY(NetworkMonitor monitor, NetworkMonitor::create());
  network_ = std::move(monitor);
  return loop_.add(network_->fd(), EventLoop::kReadable,
                   [this](EventLoop::Ready) { on_network(); });
}

void ClientWorker::on_network() {
  network_events_.clear();
  if (!network_->poll_events(network_events_)) return;
  // What only goes away is no way out, and what happens to the tunnel is our own doing.
  const uint32_t own = ::if_nametoindex(tun_.name().c_str());
  const auto promises = [own](const NetworkEvent& event) {
    if (event.interface == own && event.kind != NetworkEvent::Kind::Overrun) return false;
    switch (event.kind) {
      case NetworkEvent::Kind::LinkChanged:
        return event.link_up;
      case NetworkEvent::Kind::AddressAdded:
      case NetworkEvent::Kind::RouteChanged:
      case NetworkEvent::Kind::Overrun:
        return true;
      case NetworkEvent::Kind::LinkRemoved:
      case NetworkEvent::Kind::AddressRemoved:
      case NetworkEvent::Kind::RouteRemoved:
      case NetworkEvent::Kind::LocalRoutesChanged:
        return false;
    }
    return false;
  };
  if (!std::ranges::any_of(network_events_, promises)) return;
  begin_turn();
  client_.on_network_changed();
}

// ---- a turn -----------------------------------------------------------------------------------

void ClientWorker::begin_turn() {
  if (in_turn_) return;
  in_turn_ = true;
  now_ = monotonic_now();
  client_.begin_turn(now_, io_, io_);
}

void ClientWorker::with_client(const std::function<void(TunnelClient&)>& work) {
  begin_turn();
  work(client_);
  end_turn();
}

void ClientWorker::on_udp(EventLoop::Ready ready) {
  begin_turn();
  if (ready.writable) io_.flush();
  if (!ready.readable && !ready.failed) return;
  receive_datagrams(*socket_, received_, [this](const ReceivedDatagram& datagram) {
    connection_->on_datagram(now_, datagram);
  });
}

void ClientWorker::on_tun(EventLoop::Ready) {
  begin_turn();
  if (!client_.wants_more()) return;
  const auto read = read_packets(
      tun_, tun_batch_, [this](const PacketSlices& packet) { client_.on_tun_packet(packet); });
  if (read) return;
  loop_.remove(tun_.fd());
  if (on_tun_lost_) on_tun_lost_(read.error());
}

// The turn's own time counts: the loop's may be older than packets of this turn, and QUIC's clock
// must never run backwards.
void ClientWorker::on_deadline(Instant) {
  begin_turn();
  if (connection_ && connection_->next_timeout() && *connection_->next_timeout() <= now_)
    connection_->on_timeout(now_);
  if (client_.next_timeout() && *client_.next_timeout() <= now_) client_.on_timeout(now_);
}

void ClientWorker::end_turn() {
  begin_turn();
  client_.flush();
  if (connection_) {
    while (!io_.blocked() &&
           connection_->poll_transmit(now_, io_.batch()) == QuicConnection::Flushed::Full)
      io_.flush();
  }
  io_.finish_turn();
  reap_dead_connection();
  while (const auto event = client_.poll_event()) handle(*event);
  if (socket_) {
    const EventLoop::Interest udp = udp_interest(io_.blocked());
    if (udp != udp_interest_ && loop_.modify(socket_->fd(), udp)) udp_interest_ = udp;
  }
  const EventLoop::Interest tun = tun_interest(client_.wants_more(), io_.blocked());
  if (tun != tun_interest_ && loop_.modify(tun_.fd(), tun)) tun_interest_ = tun;
  std::optional<Instant> deadline = client_.next_timeout();
  if (connection_) deadline = earlier(deadline, connection_->next_timeout());
  loop_.set_deadline(deadline);
  in_turn_ = false;
}

// ---- connections ------------------------------------------------------------------------------

void ClientWorker::handle(const ClientEvent& event) {
  if (std::holds_alternative<Dial>(event)) {
    dial();
  } else if (std::holds_alternative<HangUp>(event)) {
    hang_up();
  }
  if (on_event_) on_event_(event);
}

void ClientWorker::dial() {
  drop_connection();
  last_close_.reset();
  resolver_.resolve(options_.host, options_.port, options_.resolve_timeout,
                    [this](Resolver::Answer answer) { on_resolved(std::move(answer)); });
}

void ClientWorker::on_resolved(Resolver::Answer answer) {
  begin_turn();
  if (!answer || answer->empty()) {
    const std::string reason = answer ? "the name has no addresses" : answer.error().operation;
    client_.on_connection_lost(reason);
    return end_turn();
  }
  addresses_ = std::move(*answer);
  const SocketAddress remote = addresses_[next_address_++ % addresses_.size()];
  if (const auto connected = connect_to(remote); !connected) {
    drop_connection();
    client_.on_connection_lost(connected.error().message());
  }
  end_turn();
}

Result<void, SysError> ClientWorker::connect_to(const SocketAddress& remote) {
  TRY(const IpAddress source, source_address_for(remote, options_.mark));
  TRY(UdpSocket socket,
      UdpSocket::create({.bind = {.address = source, .port = 0}, .mark = options_.mark}));
  socket_ = std::move(socket);
  TRY_VOID(loop_.add(socket_->fd(), EventLoop::kReadable,
                     [this](EventLoop::Ready ready) { on_udp(ready); }));
  udp_interest_ = EventLoop::kReadable;
  const bool v4 = remote.address.version() == IpVersion::V4;
  io_.set_sockets(v4 ? &*socket_ : nullptr, v4 ? nullptr : &*socket_);
  const NetworkPath path{.local = socket_->local_address(), .remote = remote};
  auto quic = QuicConnection::create_client(now_, options_.quic, tls_, rng_,
                                            {.path = path, .token = tokens_.take(path)});
  if (!quic) return std::unexpected(SysError{.code = 0, .operation = "create a QUIC connection"});
  log_info("client.dial",
           {{"remote", remote.to_string()}, {"local", socket_->local_address().to_string()}});
  connection_ = std::make_unique<Http3Connection>(Http3Connection::Role::Client, std::move(quic),
                                                  client_, options_.http);
  hanging_up_ = false;
  client_.on_dialed(*connection_);
  return {};
}

// Says goodbye; the connection is dropped at once, its peer needs no answer.
void ClientWorker::hang_up() {
  if (!connection_) return;
  connection_->close(now_, HttpError::NoError, "");
  connection_->poll_transmit(now_, io_.batch());
  io_.flush();
  drop_connection();
}

void ClientWorker::drop_connection() {
  if (connection_) {
    last_close_ = connection_->quic().close_reason();
    tokens_.keep(connection_->quic().path(), connection_->quic().new_token());
    connection_->on_removed();
    connection_.reset();
  }
  if (socket_) {
    io_.set_sockets(nullptr, nullptr);
    loop_.remove(socket_->fd());
    socket_.reset();
  }
}

// A connection that is closing is of no use; its CONNECTION_CLOSE has just been sent.
void ClientWorker::reap_dead_connection() {
  if (!connection_ || !connection_->quic().closing()) return;
  const auto reason = connection_->quic().close_reason();
  drop_connection();
  client_.on_connection_lost(reason ? explain(*reason) : "the connection ended");
}

}  // namespace masque
