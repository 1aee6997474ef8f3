// SPDX-License-Identifier: Apache-2.0
#include "sim/node.h"

#include "base/assert.h"

namespace masque {

namespace {

// A host needs time to come back to its timers; it also keeps a timer that is always due from
// standing still in virtual time.
constexpr Duration kTimerGranularity = 10us;

}  // namespace

// ---- TurnNode ---------------------------------------------------------------------------------

TurnNode::TurnNode(World& world, Network& network, const IpAddress& address, Network::Kind kind)
    : world_(world),
      network_(network),
      address_(address),
      id_(network.attach(*this, address, kind)),
      target_(network, id_) {}

void TurnNode::on_udp(const NetworkPath& path, Ecn ecn, Bytes bytes) {
  inbox_.push_back(
      {.path = path, .ecn = ecn, .bytes = std::vector<uint8_t>(bytes.begin(), bytes.end())});
  schedule_turn();
}

void TurnNode::schedule_turn() {
  if (turn_planned_) return;
  turn_planned_ = true;
  world_.at(world_.now(), [this] { turn(); });
}

void TurnNode::turn() {
  turn_planned_ = false;
  ++turns_;
  step_ = Step::Input;
  const Instant now = world_.now();
  begin(now);
  std::vector<Inbox> batch = std::exchange(inbox_, {});
  for (Inbox& datagram : batch)
    receive(now, {.path = datagram.path, .ecn = datagram.ecn, .bytes = datagram.bytes});
  fire_timers(now);
  take_input(now);
  step_ = Step::Output;
  while (transmit(now, target_.batch()) == QuicConnection::Flushed::Full) target_.flush();
  target_.flush();
  finish(now);
  step_ = Step::Idle;
  arm();
}

void TurnNode::arm() {
  const auto timeout = next_timeout();
  if (!timeout) return;
  const Instant when = std::max(*timeout, world_.now() + kTimerGranularity);
  // An earlier alarm that is already planned looks again when it rings.
  if (armed_ && *armed_ > world_.now() && *armed_ <= when) return;
  armed_ = when;
  world_.at(when, [this, when] {
    if (armed_ != when) return;
    armed_.reset();
    const auto due = next_timeout();
    if (due && *due <= world_.now()) {
      schedule_turn();
    } else {
      arm();
    }
  });
}

// ---- ClientNode -------------------------------------------------------------------------------

ClientNode::ClientNode(World& world, Network& network, Options options,
                       std::unique_ptr<TlsContext> tls)
    : TurnNode(world, network, options.address, Network::Kind::Client),
      options_(std::move(options)),
      tls_(std::move(tls)) {}

ClientNode::~ClientNode() { MASQUE_ASSERT(!connection_); }

bool ClientNode::dial() {
  kill();
  ++dials_;
  local_ = {.address = options_.address, .port = next_port_++};
  const NetworkPath path{.local = local_, .remote = options_.server};
  auto quic = QuicConnection::create_client(world().now(), options_.quic, *tls_, world().rng(),
                                            {.path = path, .token = tokens_.take(path)});
  if (!quic) return false;
  quic->set_wake([this] { on_wake(); });
  connection_ = std::make_unique<Http3Connection>(Http3Connection::Role::Client, std::move(quic),
                                                  handler(), options_.http);
  schedule_turn();
  return true;
}

void ClientNode::kill() {
  if (!connection_) return;
  tokens_.keep(connection_->quic().path(), connection_->quic().new_token());
  connection_->on_removed();
  connection_.reset();
}

void ClientNode::receive(Instant now, const ReceivedDatagram& datagram) {
  // The socket of an earlier connection is closed.
  if (connection_ && datagram.path.local == local_) connection_->on_datagram(now, datagram);
}

void ClientNode::fire_timers(Instant now) {
  if (connection_) {
    const auto due = connection_->next_timeout();
    if (due && *due <= now) connection_->on_timeout(now);
  }
  const auto due = application_timeout();
  if (due && *due <= now) fire_application_timers(now);
}

QuicConnection::Flushed ClientNode::transmit(Instant now, TransmitBatch& batch) {
  return connection_ ? connection_->poll_transmit(now, batch) : QuicConnection::Flushed::All;
}

void ClientNode::finish(Instant now) {
  if (connection_ && connection_->quic().dead()) {
    last_close_ = connection_->quic().close_reason().value_or(CloseReason{.text = "no reason"});
    kill();
    on_connection_ended(*last_close_);
  }
  finish_application(now);
}

std::optional<Instant> ClientNode::next_timeout() const {
  return earlier(connection_ ? connection_->next_timeout() : std::nullopt, application_timeout());
}

// ---- ServerNode -------------------------------------------------------------------------------

ServerNode::ServerNode(World& world, Network& network, Options options,
                       std::unique_ptr<TlsContext> tls)
    : TurnNode(world, network, options.address.address, Network::Kind::Server),
      options_(std::move(options)),
      tls_(std::move(tls)) {
  start_endpoint(StaticSecret::New);
}

ServerNode::~ServerNode() { MASQUE_ASSERT(!endpoint_); }

void ServerNode::start_endpoint(StaticSecret secret) {
  if (secret == StaticSecret::New) world().rng().fill(options_.endpoint.static_secret);
  drop_inbox();
  ConnectionFactory& factory = *this;
  endpoint_ =
      std::make_unique<QuicServerEndpoint>(options_.endpoint, *tls_, world().rng(), factory);
}

void ServerNode::stop_endpoint() { endpoint_.reset(); }

std::unique_ptr<EndpointConnection> ServerNode::create(std::unique_ptr<QuicConnection> quic) {
  return std::make_unique<Http3Connection>(Http3Connection::Role::Server, std::move(quic),
                                           handler(), options_.http);
}

void ServerNode::receive(Instant now, const ReceivedDatagram& datagram) {
  if (endpoint_ && datagram.path.local == options_.address) endpoint_->on_datagram(now, datagram);
}

void ServerNode::fire_timers(Instant now) {
  if (!endpoint_) return;
  const auto quic = endpoint_->next_timeout();
  if (quic && *quic <= now) endpoint_->on_timeout(now);
  const auto due = application_timeout();
  if (due && *due <= now) fire_application_timers(now);
}

QuicConnection::Flushed ServerNode::transmit(Instant now, TransmitBatch& batch) {
  return endpoint_ ? endpoint_->poll_transmit(now, batch) : QuicConnection::Flushed::All;
}

std::optional<Instant> ServerNode::next_timeout() const {
  if (!endpoint_) return std::nullopt;
  return earlier(endpoint_->next_timeout(), application_timeout());
}

}  // namespace masque
