// SPDX-License-Identifier: Apache-2.0
// From a request to a session and to its end (RFC 9484 4.1).
#include <algorithm>
#include <utility>

#include "core/server/gateway_impl.h"

namespace masque {
namespace {

// Capsules of a client that does not wait for our answer while its target is being resolved.
constexpr size_t kEarlyDataMax = 4096;

}  // namespace

void Gateway::on_settings(HttpConnection& connection) {
  impl_->connection_state(connection);
  if (impl_->draining) connection.send_goaway();
}

void Gateway::on_request(HttpConnection& connection, StreamId stream, const HeaderFields& fields,
                         bool fin) {
  const Impl::Reading reading(*impl_, connection);
  impl_->on_request(connection, stream, fields, fin);
}

void Gateway::Impl::on_request(HttpConnection& connection, StreamId stream,
                               const HeaderFields& fields, bool fin) {
  ++totals.requests;
  if (!connection_state(connection).requests.take(now_)) {
    connection.close(now_, HttpError::ExcessiveLoad, "too many requests");
    return;
  }
  auto admitted = admission.check(fields, connection.peer_certificate(), *policy);
  if (!admitted) return refuse(connection, stream, admitted.error(), {});
  if (fin) {
    // RFC 9297 2: datagrams need an open stream; a tunnel that is closed at once is none.
    return refuse(connection, stream,
                  {.status = 400, .error = ProxyError::HttpRequestError, .details = "stream closed"},
                  admitted->identity);
  }
  if (const auto refusal = shortage(connection)) {
    return refuse(connection, stream, *refusal, admitted->identity);
  }
  if (admitted->scope.target == Scope::Target::Name) {
    return wait_for_name(connection, stream, std::move(*admitted));
  }
  open_session(connection, stream, *admitted, {});
}

void Gateway::Impl::refuse(HttpConnection& connection, StreamId stream, const Refusal& refusal,
                           std::string_view identity) {
  ++totals.requests_refused;
  connection.respond(stream, refusal_fields(refusal, config.name), StreamEnd::Fin);
  emit(RequestRefused{.identity = std::string(identity),
                      .status = refusal.status,
                      .detail = refusal.details});
}

std::optional<Refusal> Gateway::Impl::shortage(HttpConnection& connection) const {
  const auto busy = [](std::string details) {
    return Refusal{.status = 503,
                   .error = ProxyError::ConnectionLimitReached,
                   .details = std::move(details)};
  };
  if (draining) return busy("shutting down");
  if (live >= config.sessions_max) return busy("too many sessions");
  const auto state = connections.find(&connection);
  if (state != connections.end() &&
      state->second.sessions.size() >= config.sessions_per_connection_max) {
    return busy("too many sessions on this connection");
  }
  return std::nullopt;
}

void Gateway::Impl::wait_for_name(HttpConnection& connection, StreamId stream, Admitted admitted) {
  if (pending.size() >= config.resolves_pending_max) {
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
                                  .deadline = now_ + config.resolve_timeout,
                                  .early_data = {}});
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
  if (auto reason = reason_to_revoke(request.admitted.identity, request.admitted.credential,
                                     *impl_->policy)) {
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

void Gateway::Impl::open_session(HttpConnection& connection, StreamId stream,
                                 const Admitted& admitted, std::vector<IpAddress> resolved) {
  const ClientPolicy& client = *policy->find(admitted.identity);
  const auto scoped = routes_in_scope(policy->routes_for(client), admitted.scope, resolved);
  if (scope_is_prohibited(admitted.scope, resolved)) {
    return refuse(connection, stream,
                  {.status = recommended_status(ProxyError::DestinationIpProhibited),
                   .error = ProxyError::DestinationIpProhibited,
                   .details = "no client may reach this target"},
                  admitted.identity);
  }
  if (scoped.empty() && admitted.scope.target != Scope::Target::Any) {
    return refuse(connection, stream,
                  {.status = 403,
                   .error = ProxyError::HttpRequestDenied,
                   .details = "the target is outside what this client may reach"},
                  admitted.identity);
  }
  // The newest session of an identity wins: its old one may be dead without our knowing.
  totals.sessions_replaced += close_identity(admitted.identity, SessionEnd::Replaced, "a newer session");
  std::vector<IpPrefix> addresses = lease_for(admitted, client, resolved);
  if (addresses.empty()) {
    ++totals.pool_exhausted;
    return refuse(connection, stream,
                  {.status = 503,
                   .error = ProxyError::ConnectionLimitReached,
                   .details = "the address pool is exhausted"},
                  admitted.identity);
  }
  Session& session = make_session(connection, stream, admitted);
  session.resolved = std::move(resolved);
  session.rules = ClientRules::of(client);
  connection.respond(stream, {{":status", "200"}, {"capsule-protocol", "?1"}}, StreamEnd::KeepOpen);
  connection.enable_datagrams(stream);
  set_addresses(session, addresses);
  advertise(session);
  emit(SessionUp{.session = session.number, .identity = session.identity, .addresses = session.addresses});
}

std::vector<IpPrefix> Gateway::Impl::lease_for(const Admitted& admitted, const ClientPolicy& client,
                                               std::span<const IpAddress> resolved) {
  std::vector<IpPrefix> out;
  for (const IpVersion version : {IpVersion::V4, IpVersion::V6}) {
    if (!scope_has(admitted.scope, version, resolved)) continue;
    bool fixed = false;
    for (const IpPrefix& prefix : client.fixed_addresses) {
      if (prefix.version() != version) continue;
      fixed = true;
      // Somebody who got it before it was fixed gives way.
      if (const auto holder = router.find_exact(prefix)) {
        close_session(*slots[*holder], SessionEnd::Replaced, "the address belongs to another client");
      }
      if (pool.set(admitted.identity, prefix)) out.push_back(prefix);
    }
    if (fixed) continue;
    if (const auto lease = pool.acquire(now_, admitted.identity, version)) out.push_back(*lease);
  }
  return out;
}

Gateway::Impl::Session& Gateway::Impl::make_session(HttpConnection& connection, StreamId stream,
                                                    const Admitted& admitted) {
  const bool scoped =
      admitted.scope.target != Scope::Target::Any || admitted.scope.protocol.has_value();
  SessionOptions options{
      .role = SessionOptions::Role::Proxy,
      .own_addresses = pool.own_addresses(),
      .peer_sources = PacketFilter::PeerSources::Known,
      .our_sources = scoped ? PacketFilter::OurSources::Ours : PacketFilter::OurSources::Any,
      .peer_assigns = SessionOptions::PeerAssigns::Ignore,
      .queue_bytes_max = config.queue_bytes_max,
      .ipv6_probe = config.ipv6_probe,
      .ipv6_mtu_grace = config.ipv6_mtu_grace};
  // A client certificate proves that no HTTP intermediary stands between, so QUIC's own search for the
  // path MTU measures the whole tunnel (RFC 9484 7.2).
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
  slots[slot] = std::make_unique<Session>(*this, connection, stream, now_, std::move(options));
  Session& session = *slots[slot];
  session.slot = slot;
  session.number = next_session++;
  session.identity = admitted.identity;
  session.credential = admitted.credential;
  session.scope = admitted.scope;
  connection_state(connection).sessions.emplace_back(stream, slot);
  ++live;
  ++totals.sessions_opened;
  return session;
}

void Gateway::on_stream_data(HttpConnection& connection, StreamId stream, Bytes data) {
  const Impl::Reading reading(*impl_, connection);
  Impl::Session* session = impl_->find(connection, stream);
  if (session == nullptr) {
    for (auto& [ticket, request] : impl_->pending) {
      if (request.connection != &connection || request.stream != stream) continue;
      if (request.early_data.size() + data.size() > kEarlyDataMax) {
        connection.abort_stream(stream, HttpError::ExcessiveLoad);
        impl_->pending.erase(ticket);
        return;
      }
      request.early_data.insert(request.early_data.end(), data.begin(), data.end());
      return;
    }
    return;
  }
  Impl::FromSession handler(*impl_, *session);
  session->tunnel.on_stream_data(impl_->now_, data, handler);
  impl_->touch(*session);
  impl_->process_events(*session);
}

void Gateway::on_stream_fin(HttpConnection& connection, StreamId stream) {
  const Impl::Reading reading(*impl_, connection);
  Impl::Session* session = impl_->find(connection, stream);
  if (session == nullptr) return;
  session->tunnel.on_stream_fin(impl_->now_);
  if (session->tunnel.abort_reason()) {
    impl_->process_events(*session);
    return;
  }
  impl_->close_session(*session, SessionEnd::ClientClosed, {});
}

void Gateway::on_stream_closed(HttpConnection& connection, StreamId stream, uint64_t) {
  std::erase_if(impl_->pending, [&](const auto& entry) {
    return entry.second.connection == &connection && entry.second.stream == stream;
  });
  Impl::Session* session = impl_->find(connection, stream);
  if (session == nullptr) return;
  impl_->remove_session(*session, SessionEnd::StreamAborted, {});
}

void Gateway::on_connection_gone(HttpConnection& connection) {
  std::erase_if(impl_->pending,
                [&](const auto& entry) { return entry.second.connection == &connection; });
  const auto found = impl_->connections.find(&connection);
  if (found == impl_->connections.end()) return;
  while (!found->second.sessions.empty()) {
    const Impl::Slot slot = found->second.sessions.back().second;
    impl_->remove_session(*impl_->slots[slot], SessionEnd::StreamAborted, "connection ended");
  }
  impl_->connections.erase(found);
}

void Gateway::Impl::process_events(Session& session) {
  while (const auto event = session.tunnel.poll_event()) {
    switch (*event) {
      case SessionEvent::AddressesAssigned: ++totals.assignments_refused; break;
      case SessionEvent::AddressesRequested:
        // RFC 9484 4.7.2: every request is answered, with the lease or with a denial.
        session.tunnel.assign_addresses(session.addresses);
        touch(session);
        break;
      case SessionEvent::RoutesAdvertised: accept_site_routes(session); break;
      case SessionEvent::Aborted: on_session_aborted(session); return;
      case SessionEvent::AddressesDenied:
      case SessionEvent::MtuProbeAnswered:
      case SessionEvent::MtuProbeUnanswered: break;
    }
  }
}

void Gateway::Impl::on_session_aborted(Session& session) {
  const SessionAbort reason = *session.tunnel.abort_reason();
  std::string detail(to_string(reason.cause));
  switch (reason.cause) {
    case SessionAbort::Cause::Malformed:
      detail += ": ";
      detail += to_string(reason.error);
      session.connection->abort_stream(session.stream, to_http_error(reason.error));
      return remove_session(session, SessionEnd::ProtocolError, std::move(detail));
    case SessionAbort::Cause::CapsuleTooSlow:
      session.connection->abort_stream(session.stream, HttpError::RequestCancelled);
      return remove_session(session, SessionEnd::ProtocolError, std::move(detail));
    case SessionAbort::Cause::MtuTooSmall:
    case SessionAbort::Cause::ProbeUnanswered:
      session.connection->abort_stream(session.stream, HttpError::RequestCancelled);
      return remove_session(session, SessionEnd::MtuTooSmall, std::move(detail));
  }
}

void Gateway::Impl::accept_site_routes(Session& session) {
  const auto& advertised = session.tunnel.advertised_by_peer();
  auto permitted = permitted_site_routes(advertised, session.rules);
  totals.routes_refused += advertised.size() - permitted.size();
  set_site_subnets(session, std::move(permitted));
}

// Puts the client's subnets in force: routed to it and accepted as its sources.
void Gateway::Impl::set_site_subnets(Session& session, std::vector<IpAddressRange> ranges) {
  const std::vector<IpPrefix> before = std::exchange(session.site_subnets, {});
  for (const IpPrefix& prefix : before) router.remove(prefix);
  std::vector<IpAddressRange> accepted;
  for (const IpAddressRange& entry : ranges) {
    for (const IpPrefix& prefix : to_prefixes(entry.range)) {
      const bool already = std::ranges::find(session.site_subnets, prefix) != session.site_subnets.end();
      const bool fits = session.site_subnets.size() < config.site_subnets_max;
      if (!already && (!fits || !route(session, prefix))) {
        ++totals.routes_refused;
        continue;
      }
      if (!already) session.site_subnets.push_back(prefix);
      accepted.push_back({.range = IpRange::of(prefix), .protocol = entry.protocol});
    }
  }
  session.tunnel.accept_routes(std::move(accepted));
  KernelRoutesChanged change;
  std::ranges::copy_if(session.site_subnets, std::back_inserter(change.added), [&](const IpPrefix& p) {
    return std::ranges::find(before, p) == before.end() && !pool.contains(p);
  });
  std::ranges::copy_if(before, std::back_inserter(change.removed), [&](const IpPrefix& p) {
    return std::ranges::find(session.site_subnets, p) == session.site_subnets.end() && !pool.contains(p);
  });
  if (!change.added.empty() || !change.removed.empty()) emit(std::move(change));
}

void Gateway::Impl::close_session(Session& session, SessionEnd end, std::string detail) {
  switch (end) {
    case SessionEnd::ClientClosed:
    case SessionEnd::Kicked:
    case SessionEnd::ShuttingDown: session.connection->finish_stream(session.stream); break;
    case SessionEnd::StreamAborted:
    case SessionEnd::ProtocolError:
    case SessionEnd::MtuTooSmall:
    case SessionEnd::Replaced:
    case SessionEnd::Revoked:
      // RFC 9220 3, RFC 9114 4.1.1: an abnormal end of a tunnel.
      session.connection->abort_stream(session.stream, HttpError::RequestCancelled);
      break;
  }
  remove_session(session, end, std::move(detail));
}

void Gateway::Impl::remove_session(Session& session, SessionEnd end, std::string detail) {
  KernelRoutesChanged change;
  for (const auto* list : {&session.addresses, &session.site_subnets}) {
    for (const IpPrefix& prefix : *list) {
      router.remove(prefix);
      if (!pool.contains(prefix)) change.removed.push_back(prefix);
    }
  }
  if (!change.removed.empty()) emit(std::move(change));
  pool.release(now_, session.identity);
  emit(SessionDown{.session = session.number,
                   .identity = session.identity,
                   .end = end,
                   .detail = std::move(detail)});
  totals.packets.add(session.tunnel.counters());
  auto& streams = connections.at(session.connection).sessions;
  std::erase_if(streams, [&](const auto& entry) { return entry.second == session.slot; });
  deadlines.set(session.slot, std::nullopt);
  if (session.touched) std::erase(touched, session.slot);
  last_session = nullptr;
  --live;
  const Slot slot = session.slot;
  slots[slot].reset();
  free_slots.push_back(slot);
}

size_t Gateway::Impl::close_identity(std::string_view identity, SessionEnd end,
                                     std::string_view detail) {
  size_t closed = 0;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (!slots[i] || slots[i]->identity != identity) continue;
    close_session(*slots[i], end, std::string(detail));
    ++closed;
  }
  return closed;
}

void Gateway::drain() {
  impl_->draining = true;
  for (auto& [connection, state] : impl_->connections) connection->send_goaway();
}

void Gateway::close_all() {
  impl_->draining = true;
  for (size_t i = 0; i < impl_->slots.size(); ++i) {
    if (!impl_->slots[i]) continue;
    impl_->settle(*impl_->slots[i]);
    impl_->close_session(*impl_->slots[i], SessionEnd::ShuttingDown, {});
  }
  impl_->pending.clear();
  for (auto& [connection, state] : impl_->connections) {
    connection->close(impl_->now_, HttpError::NoError, "shutting down");
  }
}

}  // namespace masque
