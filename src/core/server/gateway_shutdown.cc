// SPDX-License-Identifier: Apache-2.0
// The planned end of the gateway (RFC 9114 5.2): whoever has a tunnel or sends a request just now
// learns what became of it before the connection closes.
//
//   No -> Announced       GOAWAY without a limit; tunnels go on, new requests are rejected
//      -> SessionsEnded   GOAWAY with the real limit, FIN on every session
//      -> Closed          CONNECTION_CLOSE, H3_NO_ERROR
#include "core/server/gateway_impl.h"

namespace masque {

void Gateway::shut_down() {
  if (impl_->ending != Impl::Ending::No || impl_->connections.empty()) {
    impl_->end_sessions();
    return impl_->close_connections();
  }
  impl_->announce_end();
}

// RFC 9114 4.1.1: nothing was done for the request, it may be sent to another gateway.
void Gateway::Impl::reject(HttpConnection& connection, StreamId stream) {
  ++totals.requests_refused;
  connection.abort_stream(stream, HttpError::RequestRejected);
}

void Gateway::Impl::announce_end() {
  ending = Ending::Announced;
  next_ending_at = called_at + kShutdownStep;
  for (const auto& [ticket, request] : std::exchange(pending, {}))
    reject(*request.connection, request.stream);
  for (const auto& [connection, state] : connections) connection->send_goaway();
}

void Gateway::Impl::end_sessions() {
  ending = Ending::SessionsEnded;
  next_ending_at = called_at + kShutdownStep;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (!slots[i]) continue;
    settle(*slots[i]);
    close_session(*slots[i], SessionEnd::ShuttingDown, {});
  }
  for (const auto& [connection, state] : connections) connection->send_goaway();
}

// What is queued on a connection goes with it: what was to be said has been sent in earlier turns.
void Gateway::Impl::close_connections() {
  ending = Ending::Closed;
  next_ending_at.reset();
  for (const auto& [connection, state] : connections) {
    connection->close(called_at, HttpError::NoError, "shutting down");
  }
  emit(ShutDown{});
}

void Gateway::Impl::next_ending_step() {
  if (ending == Ending::Announced) return end_sessions();
  close_connections();
}

}  // namespace masque
