// SPDX-License-Identifier: Apache-2.0
#include "host/server_worker.h"

#include "host/clock.h"
#include "host/packet_turn.h"

namespace masque {

ServerWorker::ServerWorker(EventLoop& loop, std::vector<UdpSocket>& sockets, TunDevice& tun,
                           Gateway& gateway, TlsContext& tls, Options options)
    : loop_(loop),
      sockets_(sockets),
      tun_(tun),
      gateway_(gateway),
      options_(std::move(options)),
      io_(tun),
      endpoint_(options_.endpoint, tls, rng_, *this) {
  UdpSocket* v4 = nullptr;
  UdpSocket* v6 = nullptr;
  for (UdpSocket& socket : sockets_)
    (socket.local_address().address.version() == IpVersion::V4 ? v4 : v6) = &socket;
  io_.set_sockets(v4, v6);
}

ServerWorker::~ServerWorker() {
  for (const UdpSocket& socket : sockets_) loop_.remove(socket.fd());
  loop_.remove(tun_.fd());
}

Result<void, SysError> ServerWorker::start() {
  for (UdpSocket& socket : sockets_) {
    TRY_VOID(loop_.add(socket.fd(), udp_interest_,
                       [this, &socket](EventLoop::Ready ready) { on_udp(socket, ready); }));
  }
  TRY_VOID(loop_.add(tun_.fd(), tun_interest_, [this](EventLoop::Ready ready) { on_tun(ready); }));
  loop_.set_on_deadline([this](Instant now) { on_deadline(now); });
  loop_.set_on_turn([this] { end_turn(); });
  return {};
}

std::unique_ptr<EndpointConnection> ServerWorker::create(std::unique_ptr<QuicConnection> quic) {
  return std::make_unique<Http3Connection>(Http3Connection::Role::Server, std::move(quic), gateway_,
                                           options_.http);
}

void ServerWorker::begin_turn() {
  if (in_turn_) return;
  in_turn_ = true;
  now_ = monotonic_now();
  gateway_.begin_turn(now_, io_, io_);
}

void ServerWorker::on_udp(UdpSocket& socket, EventLoop::Ready ready) {
  begin_turn();
  if (ready.writable) io_.flush();
  if (!ready.readable && !ready.failed) return;
  receive_datagrams(socket, received_, [this](const ReceivedDatagram& datagram) {
    endpoint_.on_datagram(now_, datagram);
  });
}

void ServerWorker::on_tun(EventLoop::Ready) {
  begin_turn();
  if (!gateway_.wants_more()) return;
  const auto read = read_packets(
      tun_, tun_batch_, [this](const PacketSlices& packet) { gateway_.on_tun_packet(packet); });
  if (read) return;
  loop_.remove(tun_.fd());
  if (on_tun_lost_) on_tun_lost_(read.error());
}

// The turn's own time counts: the loop's may be older than packets of this turn, and QUIC's clock
// must never run backwards.
void ServerWorker::on_deadline(Instant) {
  begin_turn();
  endpoint_.on_timeout(now_);
  gateway_.on_timeout(now_);
}

void ServerWorker::with_gateway(const std::function<void(Gateway&)>& work) {
  begin_turn();
  work(gateway_);
  end_turn();
}

void ServerWorker::end_turn() {
  begin_turn();
  gateway_.flush();
  while (!io_.blocked() &&
         endpoint_.poll_transmit(now_, io_.batch()) == QuicConnection::Flushed::Full)
    io_.flush();
  // Timers and losses found just now may have freed queued packets.
  io_.finish_turn();
  drain_events();
  const EventLoop::Interest udp = udp_interest(io_.blocked());
  if (udp != udp_interest_) {
    udp_interest_ = udp;
    for (const UdpSocket& socket : sockets_) (void)loop_.modify(socket.fd(), udp);
  }
  const EventLoop::Interest tun = tun_interest(gateway_.wants_more(), io_.blocked());
  if (tun != tun_interest_ && loop_.modify(tun_.fd(), tun)) tun_interest_ = tun;
  loop_.set_deadline(earlier(endpoint_.next_timeout(), gateway_.next_timeout()));
  in_turn_ = false;
}

void ServerWorker::drain_events() {
  while (auto event = gateway_.poll_event()) {
    if (on_event_) on_event_(std::move(*event));
  }
}

}  // namespace masque
