// SPDX-License-Identifier: Apache-2.0
// From a request to a session: admission, name, lease, answer (RFC 9484 4.1 - 4.8).
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/mutant.h"
#include "core/server/gateway_impl.h"

namespace masque {

void Gateway::on_settings(HttpConnection& connection) {
  Impl::Connection& state = impl_->connection_state(connection);
  state.cannot = connection.usable() ? "" : connection.why_not();
  if (!state.cannot.empty()) {
    // Requests may overtake SETTINGS. A tunnel that can carry nothing would be a black hole.
    for (const auto& [stream, slot] : std::vector(state.sessions)) {
      Impl::Session* session = impl_->find(connection, stream);
      if (session != nullptr) {
        impl_->close_session(*session, SessionEnd::ProtocolError, state.cannot);
      }
    }
  }
  if (impl_->ending != Impl::Ending::No) connection.send_goaway();
}

void Gateway::on_request(HttpConnection& connection, StreamId stream, const HeaderFields& fields,
                         bool fin) {
  const Impl::Reading reading(*impl_, connection);
  impl_->on_request(connection, stream, fields, fin);
}

namespace {

// Of the certificate of a client that was not admitted, for the log: TLS has verified it.
std::string name_of(const PeerCertificate& certificate) {
  if (!certificate.common_name.empty() || certificate.names.empty()) return certificate.common_name;
  return certificate.names.front();
}

}  // namespace

void Gateway::Impl::on_request(HttpConnection& connection, StreamId stream,
                               const HeaderFields& fields, bool fin) {
  ++totals.requests;
  if (!connection_state(connection).requests.take(called_at) && !mutant("requests.rate.remove")) {
    connection.close(called_at, HttpError::ExcessiveLoad, "too many requests");
    return;
  }
  if (ending != Ending::No) return reject(connection, stream);
  const PeerCertificate certificate = connection.peer_certificate();
  auto admitted = admission.check(fields, certificate, *policy, connection.local_address());
  if (!admitted) return refuse(connection, stream, admitted.error(), name_of(certificate));
  if (fin) return refuse_closed(connection, stream, admitted->identity);
  if (const auto refusal = shortage(connection)) {
    return refuse(connection, stream, *refusal, admitted->identity);
  }
  if (const auto field = find_field(fields, kPathLayerField)) {
    admitted->path_offer = PathOffer::parse(*field);
  }
  if (admitted->scope.target == Scope::Target::Name) {
    return wait_for_name(connection, stream, std::move(*admitted));
  }
  open_session(connection, stream, *admitted, {});
}

// RFC 9297 2: datagrams need an open stream; a tunnel that is closed at once is none.
void Gateway::Impl::refuse_closed(HttpConnection& connection, StreamId stream,
                                  std::string_view identity) {
  refuse(connection, stream,
         {.status = 400, .error = ProxyError::HttpRequestError, .details = "stream closed"},
         identity);
}

void Gateway::Impl::refuse(HttpConnection& connection, StreamId stream, const Refusal& refusal,
                           std::string_view identity) {
  ++totals.requests_refused;
  connection.respond(stream, refusal_fields(refusal, config.name), StreamEnd::Fin);
  emit(RequestRefused{.identity = std::string(identity),
                      .status = refusal.status,
                      .detail = refusal.details,
                      .shortage = refusal.shortage});
}

std::optional<Refusal> Gateway::Impl::shortage(HttpConnection& connection) const {
  const auto busy = [](std::string details, Shortage what = Shortage::None) {
    return Refusal{.status = 503,
                   .error = ProxyError::ConnectionLimitReached,
                   .details = std::move(details),
                   .shortage = what};
  };
  if (live >= config.sessions_max + (mutant("sessions.limit") ? 1 : 0))
    return busy("too many sessions", Shortage::Sessions);
  const auto state = connections.find(&connection);
  if (state != connections.end() && !state->second.cannot.empty()) {
    return Refusal{
        .status = 400, .error = ProxyError::HttpRequestError, .details = state->second.cannot};
  }
  if (state != connections.end() &&
      state->second.sessions.size() >= config.sessions_per_connection_max &&
      !mutant("sessions.per_connection.remove")) {
    return busy("too many sessions on this connection");
  }
  return std::nullopt;
}

// Whether one more request may wait for its name. A client whose names never resolve takes no other
// client's place.
bool Gateway::Impl::may_wait_for_name(const HttpConnection& connection,
                                      std::string_view identity) const {
  if (pending.size() >= config.resolves_pending_max && !mutant("resolves.limit.remove"))
    return false;
  const auto of_client = [&](const auto& entry) {
    const Pending& request = entry.second;
    return (request.connection == &connection && !mutant("resolves.connection.remove")) ||
           (request.admitted.identity == identity && !mutant("resolves.identity.remove"));
  };
  return std::ranges::count_if(pending, of_client) < config.resolves_per_client_max;
}

void Gateway::Impl::wait_for_name(HttpConnection& connection, StreamId stream, Admitted admitted) {
  if (!may_wait_for_name(connection, admitted.identity)) {
    return refuse(connection, stream,
                  {.status = 503,
                   .error = ProxyError::ConnectionLimitReached,
                   .details = "too many names are being resolved"},
                  admitted.identity);
  }
  const uint64_t ticket = next_ticket++;
  emit(ResolveName{.ticket = ticket, .name = admitted.scope.name});
  pending.emplace(ticket, Pending{.connection = &connection,
                                  .stream = stream,
                                  .admitted = std::move(admitted),
                                  .deadline = called_at + config.resolve_timeout,
                                  .early_data = {}});
}

// The client has finished its side before its target's name was resolved.
void Gateway::Impl::give_up_waiting(HttpConnection& connection, StreamId stream) {
  const auto waiting = find_pending(connection, stream);
  if (waiting == pending.end() || mutant("resolves.fin.remove")) return;
  const auto node = pending.extract(waiting);
  refuse_closed(connection, stream, node.mapped().admitted.identity);
}

void Gateway::on_resolved(uint64_t ticket, const std::vector<IpAddress>& addresses) {
  auto node = impl_->pending.extract(ticket);
  if (node.empty()) return;
  Impl::Pending request = std::move(node.mapped());
  if (addresses.empty()) {
    // RFC 9484 4.6: the request fails when the name does not resolve.
    return impl_->refuse(*request.connection, request.stream,
                         {.status = recommended_status(ProxyError::DnsError),
                          .error = ProxyError::DnsError,
                          .details = "the target's name does not resolve"},
                         request.admitted.identity);
  }
  // The policy may have changed meanwhile.
  auto reason =
      reason_to_revoke(request.admitted.identity, request.admitted.credential, *impl_->policy);
  if (reason && !mutant("revoke.resolving.remove")) {
    return impl_->refuse(
        *request.connection, request.stream,
        {.status = 403, .error = ProxyError::HttpRequestDenied, .details = std::move(*reason)},
        request.admitted.identity);
  }
  if (const auto refusal = impl_->shortage(*request.connection)) {
    return impl_->refuse(*request.connection, request.stream, *refusal, request.admitted.identity);
  }
  HttpConnection& connection = *request.connection;
  impl_->open_session(connection, request.stream, request.admitted, addresses);
  if (!request.early_data.empty()) on_stream_data(connection, request.stream, request.early_data);
}

// What of the gateway itself the client may not reach (RFC 9298 7).
RangeSet Gateway::Impl::gateway_denied_to(const ClientPolicy& client,
                                          const HttpConnection& connection) const {
  if (client.reach_gateway == GatewayReach::All && !mutant("scope.all.negate")) return {};
  std::vector<IpPrefix> out = policy->gateway_addresses;
  if (const auto outer = connection.local_address(); outer && !mutant("scope.outer.remove"))
    out.push_back(IpPrefix::host(*outer));
  if (client.reach_gateway == GatewayReach::None && !mutant("scope.inner.remove")) {
    for (const IpAddress& address : pool.own_addresses()) out.push_back(IpPrefix::host(address));
  }
  return mutant("scope.denied.remove") ? RangeSet() : RangeSet(out);
}

void Gateway::Impl::open_session(HttpConnection& connection, StreamId stream,
                                 const Admitted& admitted, std::vector<IpAddress> resolved) {
  const ClientPolicy& client = *policy->find(admitted.identity);
  const auto scoped = routes_in_scope(policy->routes_for(client), admitted.scope, resolved);
  if (scope_is_prohibited(admitted.scope, resolved, gateway_denied_to(client, connection))) {
    return refuse(connection, stream,
                  {.status = recommended_status(ProxyError::DestinationIpProhibited),
                   .error = ProxyError::DestinationIpProhibited,
                   .details = "no client may reach this target"},
                  admitted.identity);
  }
  if (scoped.empty() && admitted.scope.target != Scope::Target::Any &&
      !mutant("scope.outside.remove")) {
    return refuse(connection, stream,
                  {.status = 403,
                   .error = ProxyError::HttpRequestDenied,
                   .details = "the target is outside what this client may reach"},
                  admitted.identity);
  }
  // The newest session of an identity wins: its old one may be dead without our knowing.
  if (!mutant("session.replace.remove"))
    totals.sessions_replaced +=
        close_identity(admitted.identity, SessionEnd::Replaced, "a newer session");
  std::vector<IpPrefix> addresses = lease_for(admitted, client, resolved);
  if (addresses.empty()) {
    ++totals.pool_exhausted;
    return refuse(connection, stream,
                  {.status = 503,
                   .error = ProxyError::ConnectionLimitReached,
                   .details = "the address pool is exhausted: the gateway needs a larger one",
                   .shortage = Shortage::Addresses},
                  admitted.identity);
  }
  Session& session = make_session(connection, stream, admitted);
  session.resolved = std::move(resolved);
  session.rules = ClientRules::of(client);
  HeaderFields answer = {{":status", "200"}, {"capsule-protocol", "?1"}};
  if (admitted.path_offer) {
    const auto offer = connection.offer_path_layer(config.resilience);
    if (offer && connection.start_path_layer(config.resilience, *admitted.path_offer)) {
      answer.push_back({std::string(kPathLayerField), offer->to_field()});
    }
  }
  connection.respond(stream, answer, StreamEnd::KeepOpen);
  set_addresses(session, addresses);
  advertise(session);
  connection.enable_datagrams(called_at,
                              stream);  // delivers packets that came early: the checks know us now
  emit(SessionUp{
      .session = session.number, .identity = session.identity, .addresses = session.addresses});
}

// Whoever got one of these addresses before they were fixed gives way.
void Gateway::Impl::take_fixed(const std::string& identity, std::span<const IpPrefix> prefixes) {
  for (const IpPrefix& prefix : prefixes) {
    const auto holder = pool.owner(prefix);
    if (!holder || *holder == identity || mutant("lease.fixed.remove")) continue;
    close_identity(*holder, SessionEnd::Replaced, "the address belongs to another client");
    pool.remove(*holder);
  }
  if (!pool.set(identity, prefixes)) {
    log_warn("policy.fixed_address_refused", {{"client", identity}});
  }
}

std::vector<IpPrefix> Gateway::Impl::lease_for(const Admitted& admitted, const ClientPolicy& client,
                                               std::span<const IpAddress> resolved) {
  std::vector<IpPrefix> out;
  for (const IpVersion version : {IpVersion::V4, IpVersion::V6}) {
    if (!scope_has(admitted.scope, version, resolved)) continue;
    std::vector<IpPrefix> fixed;
    for (const IpPrefix& prefix : client.fixed_addresses) {
      if (prefix.version() == version) fixed.push_back(prefix);
    }
    if (!fixed.empty()) take_fixed(admitted.identity, fixed);
    const auto leases = pool.acquire(called_at, admitted.identity, version);
    out.insert(out.end(), leases.begin(), leases.end());
  }
  return out;
}

Gateway::Impl::Session& Gateway::Impl::make_session(HttpConnection& connection, StreamId stream,
                                                    const Admitted& admitted) {
  // 0.0.0.0/0 only says which IP version is wanted.
  const bool whole =
      admitted.scope.target == Scope::Target::Any ||
      (admitted.scope.target == Scope::Target::Prefix && admitted.scope.prefix.length() == 0);
  const bool scoped = !whole || admitted.scope.protocol.has_value();
  SessionOptions options{
      .role = SessionOptions::Role::Proxy,
      .own_addresses = pool.own_addresses(),
      .peer_sources = mutant("source.unknown") ? PacketFilter::PeerSources::Unknown
                                               : PacketFilter::PeerSources::Known,
      .our_sources = scoped && !mutant("scope.sources.remove") ? PacketFilter::OurSources::InScope
                                                               : PacketFilter::OurSources::Any,
      .peer_assigns = mutant("assign.by_client.apply") ? SessionOptions::PeerAssigns::Accept
                                                       : SessionOptions::PeerAssigns::Ignore,
      .queue_bytes_max = config.queue_bytes_max,
      .classifier = config.classifier,
      .release = config.release,
      .flow_seed = flow_seed,
      .ipv6_probe = config.ipv6_probe,
      .ipv6_mtu_grace = config.ipv6_mtu_grace};
  // A client certificate proves that no HTTP intermediary stands between, so QUIC's own search for
  // the path MTU measures the whole tunnel (RFC 9484 7.2).
  if (admitted.credential.fingerprint && options.ipv6_probe == MtuProbePolicy::Measure) {
    options.ipv6_probe = MtuProbePolicy::Off;
  }
  Slot slot = 0;
  if (free_slots.empty()) {
    slot = static_cast<Slot>(slots.size());
    slots.emplace_back();
  } else {
    slot = free_slots.back();
    free_slots.pop_back();
  }
  slots[slot] = std::make_unique<Session>(*this, connection, stream, called_at, std::move(options));
  Session& session = *slots[slot];
  session.slot = slot;
  session.number = next_session++;
  session.identity = admitted.identity;
  session.credential = admitted.credential;
  session.scope = admitted.scope;
  session.outer = connection.local_address();
  connection_state(connection).sessions.emplace_back(stream, slot);
  ++live;
  ++totals.sessions_opened;
  return session;
}

}  // namespace masque
