// SPDX-License-Identifier: Apache-2.0
// The life of a session: its stream's data, its events and its end (RFC 9484 4.1).
#include <algorithm>
#include <format>
#include <utility>

#include "base/log.h"
#include "base/mutant.h"
#include "core/server/gateway_impl.h"

namespace masque {
namespace {

// Capsules of a client that does not wait for our answer while its target is being resolved.
constexpr size_t kEarlyDataMax = 4096;

}  // namespace

void Gateway::on_stream_data(HttpConnection& connection, StreamId stream, Bytes data) {
  const Impl::Reading reading(*impl_, connection);
  Impl::Session* session = impl_->find(connection, stream);
  if (session == nullptr) {
    const auto waiting = impl_->find_pending(connection, stream);
    if (waiting == impl_->pending.end()) return;
    std::vector<uint8_t>& early = waiting->second.early_data;
    if (early.size() + data.size() > kEarlyDataMax + (mutant("early_data.limit") ? 1 : 0)) {
      connection.abort_stream(stream, HttpError::ExcessiveLoad);
      impl_->pending.erase(waiting);
      return;
    }
    early.insert(early.end(), data.begin(), data.end());
    return;
  }
  Impl::FromSession handler(*impl_, *session);
  session->tunnel.on_stream_data(impl_->called_at, data, handler);
  impl_->touch(*session);
  impl_->process_events(*session);
}

void Gateway::on_stream_fin(HttpConnection& connection, StreamId stream) {
  const Impl::Reading reading(*impl_, connection);
  Impl::Session* session = impl_->find(connection, stream);
  if (session == nullptr) return impl_->give_up_waiting(connection, stream);
  session->tunnel.on_stream_fin(impl_->called_at);
  if (session->tunnel.abort_reason()) {
    impl_->process_events(*session);
    return;
  }
  impl_->close_session(*session, SessionEnd::ClientClosed, {});
}

void Gateway::on_stream_closed(HttpConnection& connection, StreamId stream, uint64_t) {
  if (const auto waiting = impl_->find_pending(connection, stream);
      waiting != impl_->pending.end()) {
    impl_->pending.erase(waiting);
  }
  Impl::Session* session = impl_->find(connection, stream);
  if (session == nullptr) return;
  impl_->remove_session(*session, SessionEnd::StreamAborted, {});
}

void Gateway::on_connection_gone(HttpConnection& connection) {
  std::erase_if(impl_->pending,
                [&](const auto& entry) { return entry.second.connection == &connection; });
  const auto found = impl_->connections.find(&connection);
  if (found == impl_->connections.end()) return;
  const ConnectionEnd ended = connection.end();
  const SessionEnd end =
      ended.by == ConnectionEnd::By::Goodbye ? SessionEnd::ClientClosed : SessionEnd::StreamAborted;
  while (!found->second.sessions.empty()) {
    const Impl::Slot slot = found->second.sessions.back().second;
    impl_->remove_session(*impl_->slots[slot], end, ended.why);
  }
  impl_->connections.erase(found);
}

void Gateway::Impl::process_events(Session& session) {
  while (const auto event = session.tunnel.poll_event()) {
    switch (*event) {
      case SessionEvent::AddressesAssigned:
        ++totals.assignments_refused;
        break;
      case SessionEvent::AddressesRequested:
        session.asked.addresses = true;
        break;
      case SessionEvent::RoutesAdvertised:
        session.asked.routes = true;
        break;
      case SessionEvent::Aborted:
        on_session_aborted(session);
        return;
      case SessionEvent::UnknownCapsule:
        log_info("capsule.unknown",
                 {{"client", session.identity},
                  {"type", std::format("{:#x}", session.tunnel.unknown_capsule()->value())}});
        break;
      case SessionEvent::MtuProbeUnanswered:
        emit(SessionUnproven{.session = session.number, .identity = session.identity});
        break;
      case SessionEvent::AddressesDenied:
        break;
    }
  }
  do_what_was_asked(session);
}

void Gateway::Impl::on_session_aborted(Session& session) {
  const SessionAbort reason = *session.tunnel.abort_reason();
  std::string detail(to_string(reason.cause));
  switch (reason.cause) {
    case SessionAbort::Cause::Malformed: {
      HttpConnection& connection = *session.connection;
      const StreamId stream = session.stream;
      detail += ": ";
      detail += to_string(reason.error);
      remove_session(session, SessionEnd::ProtocolError, std::move(detail));
      connection.abort_stream(stream, to_http_error(reason.error));
      return;
    }
    case SessionAbort::Cause::CapsuleTooSlow:
      return close_session(session, SessionEnd::ProtocolError, std::move(detail));
    case SessionAbort::Cause::MtuTooSmall:
    case SessionAbort::Cause::ProbeUnanswered:
      return close_session(session, SessionEnd::MtuTooSmall, std::move(detail));
  }
}

void Gateway::Impl::close_session(Session& session, SessionEnd end, std::string detail) {
  HttpConnection& connection = *session.connection;
  const StreamId stream = session.stream;
  // First, so that the connection's own news of the end find nothing.
  remove_session(session, end, std::move(detail));
  switch (end) {
    case SessionEnd::ClientClosed:
    case SessionEnd::Kicked:
    case SessionEnd::ShuttingDown:
      connection.finish_stream(stream);
      break;
    case SessionEnd::StreamAborted:
    case SessionEnd::ProtocolError:
    case SessionEnd::MtuTooSmall:
    case SessionEnd::Replaced:
    case SessionEnd::Revoked:
      // RFC 9220 3, RFC 9114 4.1.1: an abnormal end of a tunnel.
      connection.abort_stream(stream, HttpError::RequestCancelled);
      break;
  }
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
  pool.release(called_at, session.identity);
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

}  // namespace masque
