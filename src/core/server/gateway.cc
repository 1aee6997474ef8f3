// SPDX-License-Identifier: Apache-2.0
#include "core/server/gateway.h"

#include <utility>

#include "core/server/gateway_impl.h"

namespace masque {
namespace {

// Events wait only until the end of a turn; refusals beyond this are counted, not told.
constexpr size_t kEventsMax = 4096;

Admission::Authentication to_admission(GatewayConfig::Authentication authentication) {
  switch (authentication) {
    case GatewayConfig::Authentication::Certificate:
      return Admission::Authentication::Certificate;
    case GatewayConfig::Authentication::CertificateOrToken:
      return Admission::Authentication::CertificateOrToken;
    case GatewayConfig::Authentication::Token:
      return Admission::Authentication::Token;
  }
  std::unreachable();
}

UriTemplate make_template(const GatewayConfig& config) {
  // Only path and query matter to a server; the authority is any.
  auto uri_template = UriTemplate::parse("https://gateway.invalid" + config.path_template);
  MASQUE_ASSERT(uri_template.has_value());  // the configuration was checked before
  return std::move(*uri_template);
}

}  // namespace

std::string_view to_string(SessionEnd end) {
  switch (end) {
    case SessionEnd::ClientClosed:
      return "client_closed";
    case SessionEnd::StreamAborted:
      return "stream_aborted";
    case SessionEnd::ProtocolError:
      return "protocol_error";
    case SessionEnd::MtuTooSmall:
      return "mtu_too_small";
    case SessionEnd::Replaced:
      return "replaced";
    case SessionEnd::Revoked:
      return "revoked";
    case SessionEnd::Kicked:
      return "kicked";
    case SessionEnd::ShuttingDown:
      return "shutting_down";
  }
  std::unreachable();
}

Gateway::Impl::Impl(GatewayConfig config_in, Rng& rng,
                    std::unique_ptr<const PolicySnapshot> snapshot)
    : config(std::move(config_in)),
      admission(
          {.authentication = to_admission(config.authentication), .hash_token = config.hash_token},
          make_template(config)),
      policy(std::move(snapshot)),
      host_addresses(policy->gateway_addresses),
      pool({.pools = config.pools, .kind = config.lease_kind, .lease_time = config.lease_time}),
      flow_seed(rng.u64()) {
  std::vector<IpPrefix> own_prefixes;
  for (const IpAddress& address : pool.own_addresses())
    own_prefixes.push_back(IpPrefix::host(address));
  own = RangeSet(own_prefixes);
  reserve_fixed_addresses();
}

SendResult Gateway::Impl::Channel::send_packet(Instant now, const PacketSlices& packet,
                                               TrafficClass traffic_class) {
  if (gateway_.reading == &connection_) return SendResult::Blocked;
  const SendResult result =
      connection_.send_packet(now, stream_, packet, traffic_class, gateway_.transmit->batch());
  if (result != SendResult::Blocked || !gateway_.transmit->batch().room().empty()) return result;
  // Only the batch was full.
  gateway_.transmit->flush();
  return connection_.send_packet(now, stream_, packet, traffic_class, gateway_.transmit->batch());
}

Gateway::Impl::Session* Gateway::Impl::find(HttpConnection& connection, StreamId stream) {
  if (last_session != nullptr && last_connection == &connection && last_stream == stream) {
    return last_session;
  }
  const auto found = connections.find(&connection);
  if (found == connections.end()) return nullptr;
  for (const auto& [id, slot] : found->second.sessions) {
    if (id != stream) continue;
    last_connection = &connection;
    last_stream = stream;
    last_session = slots[slot].get();
    return last_session;
  }
  return nullptr;
}

Gateway::Impl::Connection& Gateway::Impl::connection_state(HttpConnection& connection) {
  return connections.try_emplace(&connection).first->second;
}

void Gateway::Impl::touch(Session& session) {
  if (session.touched) return;
  session.touched = true;
  touched.push_back(session.slot);
}

void Gateway::Impl::settle(Session& session) {
  session.tunnel.update_mtu(called_at, session.channel);
  const Bytes output = session.tunnel.stream_output();
  session.tunnel.consume_stream_output(
      session.connection->send_stream_data_that_fits(session.stream, output));
  flush_queue(session);
  deadlines.set(session.slot,
                earlier(session.tunnel.next_timeout(), session.asked.throttle.next_timeout()));
}

void Gateway::Impl::emit(GatewayEvent event) {
  if (events.size() >= kEventsMax && std::holds_alternative<RequestRefused>(event)) return;
  events.push_back(std::move(event));
}

void Gateway::Impl::emit_lease_changes() {
  while (auto identity = pool.poll_changed()) {
    if (config.lease_kind == LeaseKind::Fresh) continue;
    std::vector<IpPrefix> leases = pool.leases(*identity);
    emit(LeaseChanged{.identity = std::move(*identity), .addresses = std::move(leases)});
  }
}

Gateway::Gateway(GatewayConfig config, Rng& rng, std::unique_ptr<const PolicySnapshot> policy)
    : impl_(std::make_unique<Impl>(std::move(config), rng, std::move(policy))) {}
Gateway::~Gateway() = default;

std::vector<IpAddress> Gateway::own_addresses() const { return impl_->pool.own_addresses(); }

bool Gateway::load_lease(std::string_view identity, const std::vector<IpPrefix>& addresses) {
  bool all = true;
  for (const IpPrefix& address : addresses) {
    all = impl_->pool.load(impl_->called_at, identity, address) && all;
  }
  return all;
}

void Gateway::begin_turn(Instant now, TransmitTarget& transmit, PacketSink& tun) {
  impl_->called_at = now;
  impl_->transmit = &transmit;
  impl_->tun = &tun;
}

void Gateway::on_tun_packet(const PacketSlices& packet) { impl_->on_tun_packet(packet); }

void Gateway::flush() {
  // Sessions that are still blocked stay in the list for the next turn.
  size_t kept = 0;
  for (size_t i = 0; i < impl_->touched.size(); ++i) {
    const Impl::Slot slot = impl_->touched[i];
    Impl::Session* session = impl_->slots[slot].get();
    if (session == nullptr || !session->touched) continue;
    impl_->settle(*session);
    const bool waits = !session->tunnel.queue_empty() || !session->tunnel.stream_output().empty();
    session->touched = waits;
    if (waits) impl_->touched[kept++] = slot;
  }
  impl_->touched.resize(kept);
}

bool Gateway::wants_more() const {
  // With several clients a blocked one must not stop the packets of the others (its own queue drops
  // its oldest); a single one does better when the TUN waits with it.
  if (impl_->live != 1) return true;
  for (const auto& session : impl_->slots) {
    if (session) return session->tunnel.wants_more();
  }
  return true;
}

std::optional<Instant> Gateway::next_timeout() const {
  std::optional<Instant> next = impl_->deadlines.next();
  for (const auto& [ticket, request] : impl_->pending) next = earlier(next, request.deadline);
  return earlier(next, impl_->next_ending_at);
}

void Gateway::on_timeout(Instant now) {
  impl_->called_at = now;
  while (const auto slot = impl_->deadlines.pop_due(now)) {
    Impl::Session* session = impl_->slots[*slot].get();
    if (session == nullptr) continue;
    Impl::FromSession handler(*impl_, *session);
    session->tunnel.on_timeout(now, session->channel, handler);
    impl_->touch(*session);
    impl_->process_events(*session);
  }
  std::vector<uint64_t> late;
  for (const auto& [ticket, request] : impl_->pending) {
    if (request.deadline <= now) late.push_back(ticket);
  }
  for (const uint64_t ticket : late) {
    const auto node = impl_->pending.extract(ticket);
    const Impl::Pending& request = node.mapped();
    impl_->refuse(*request.connection, request.stream,
                  {.status = recommended_status(ProxyError::DnsTimeout),
                   .error = ProxyError::DnsTimeout,
                   .details = "the target's name was not resolved in time"},
                  request.admitted.identity);
  }
  if (impl_->next_ending_at && now >= *impl_->next_ending_at) impl_->next_ending_step();
}

std::optional<GatewayEvent> Gateway::poll_event() {
  impl_->emit_lease_changes();
  if (impl_->events.empty()) return std::nullopt;
  GatewayEvent event = std::move(impl_->events.front());
  impl_->events.pop_front();
  return event;
}

void Gateway::set_policy(std::unique_ptr<const PolicySnapshot> policy) {
  impl_->set_policy(std::move(policy));
}

size_t Gateway::revoke(std::string_view identity) {
  const size_t closed = impl_->close_identity(identity, SessionEnd::Revoked, "revoked");
  impl_->pool.remove(identity);
  return closed;
}

size_t Gateway::kick(std::string_view identity) {
  return impl_->close_identity(identity, SessionEnd::Kicked, "closed by the operator");
}

std::vector<SessionSnapshot> Gateway::sessions() const {
  std::vector<SessionSnapshot> out;
  for (const auto& session : impl_->slots) {
    if (!session) continue;
    SessionSnapshot snapshot{.session = session->number,
                             .identity = session->identity,
                             .addresses = session->addresses,
                             .site_subnets = session->site_subnets,
                             .mtu = session->tunnel.mtu(),
                             .since = session->since,
                             .counters = session->tunnel.counters(),
                             .figures = session->tunnel.figures(),
                             .connection = session->connection};
    for (const IpAddressRange& route : session->tunnel.advertised_by_us()) {
      const auto prefixes = to_prefixes(route.range);
      snapshot.routes.insert(snapshot.routes.end(), prefixes.begin(), prefixes.end());
    }
    out.push_back(std::move(snapshot));
  }
  return out;
}

size_t Gateway::session_count() const { return impl_->live; }

GatewayCounters Gateway::counters() const {
  GatewayCounters out = impl_->totals;
  for (const auto& session : impl_->slots) {
    if (session) out.packets.add(session->tunnel.counters());
  }
  return out;
}

}  // namespace masque
