// SPDX-License-Identifier: Apache-2.0
// States, timers and control of the client.
#include "core/client/tunnel_client.h"

#include <format>
#include <utility>

#include "base/mutant.h"
#include "core/client/tunnel_client_impl.h"

namespace masque {

std::string_view to_string(ClientState state) {
  switch (state) {
    case ClientState::Idle:
      return "idle";
    case ClientState::Connecting:
      return "connecting";
    case ClientState::Connected:
      return "connected";
    case ClientState::Reconnecting:
      return "reconnecting";
    case ClientState::Failed:
      return "failed";
  }
  std::unreachable();
}

TunnelClient::Impl::Impl(TunnelClientConfig config_in, UriTemplate uri_template_in, Scope scope_in,
                         Rng& rng)
    : config(std::move(config_in)),
      uri_template(std::move(uri_template_in)),
      scope(std::move(scope_in)),
      reconnector({.first = config.backoff_first,
                   .max = config.backoff_max,
                   .refused = config.backoff_refused},
                  rng),
      fallback({.first = config.ipv4_only_first}),
      flow_seed(rng.u64()) {}

TunnelClient::TunnelClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TunnelClient::~TunnelClient() = default;

std::expected<std::unique_ptr<TunnelClient>, std::string> TunnelClient::create(
    TunnelClientConfig config, Rng& rng) {
  auto uri_template = UriTemplate::parse(config.uri_template);
  if (!uri_template) {
    // RFC 9484 3: a client that notices a violation rejects the configuration and sends nothing.
    return std::unexpected(std::format("the URI template \"{}\" is not valid: {}",
                                       config.uri_template, to_string(uri_template.error())));
  }
  if (uri_template->scheme() != "https") {
    return std::unexpected(
        std::format("the URI template \"{}\" is not https", config.uri_template));
  }
  auto scope = parse_scope({.target = config.target, .ipproto = config.protocol});
  if (!scope) {
    return std::unexpected(std::format("target \"{}\" or protocol \"{}\" is not valid",
                                       config.target, config.protocol));
  }
  if (config.target != "*" && !uri_template->has_variable("target")) {
    return std::unexpected("a target is set, but the URI template has no {target}");
  }
  if (config.protocol != "*" && !uri_template->has_variable("ipproto")) {
    return std::unexpected("a protocol is set, but the URI template has no {ipproto}");
  }
  auto impl =
      std::make_unique<Impl>(std::move(config), std::move(*uri_template), std::move(*scope), rng);
  return std::unique_ptr<TunnelClient>(new TunnelClient(std::move(impl)));
}

// --- states ---

void TunnelClient::Impl::set_state(ClientState next, std::string reason, unsigned status) {
  state = next;
  events.push_back(
      ClientStateChanged{.state = next, .reason = std::move(reason), .status = status});
}

void TunnelClient::Impl::dial() {
  phase = Phase::Dialing;
  ++attempt;
  answer_deadline = now + config.answer_timeout;
  events.push_back(Dial{.attempt = attempt});
}

void TunnelClient::Impl::drop_tunnel() {
  if (tunnel) totals.add(tunnel->session.counters());
  tunnel.reset();
  narrow_since.reset();
  stream.reset();
  answer_deadline.reset();
  routes_deadline.reset();
  connected_since.reset();
}

void TunnelClient::Impl::hang_up(std::string_view reason) {
  if (connection == nullptr) return;
  if (!connection_gone) connection->close(now, HttpError::NoError, reason);
  connection = nullptr;
  connection_gone = false;
  events.push_back(HangUp{});
}

// This attempt or this connection is over; the next one is planned.
void TunnelClient::Impl::lose(std::string reason, Loss loss, unsigned status) {
  if (phase == Phase::Stopped || phase == Phase::Waiting) return;
  const bool was_up = phase == Phase::Up;
  drop_tunnel();
  hang_up(loss == Loss::Refused ? "refused" : "lost");
  phase = Phase::Waiting;
  last_error = reason;
  if (was_up) ++reconnects;
  if (loss == Loss::Refused) {
    if (ipv4_only) fallback.on_network_changed();  // perhaps it was that
    reconnector.on_refused(now);
    set_state(ClientState::Failed, std::move(reason), status);
    return;
  }
  reconnector.on_lost(now);
  set_state(was_connected ? ClientState::Reconnecting : ClientState::Connecting, std::move(reason),
            status);
}

// --- control ---

void TunnelClient::start() {
  if (impl_->phase != Impl::Phase::Stopped) return;
  impl_->was_connected = false;
  impl_->last_error.clear();
  impl_->set_state(ClientState::Connecting, {});
  impl_->dial();
}

void TunnelClient::stop() {
  if (impl_->phase == Impl::Phase::Stopped) return;
  if (impl_->tunnel && !impl_->connection_gone) {
    impl_->settle();
    impl_->connection->finish_stream(*impl_->stream);
  }
  impl_->drop_tunnel();
  impl_->hang_up("the client stops");
  impl_->reconnector.cancel();
  impl_->fallback.on_network_changed();
  impl_->phase = Impl::Phase::Stopped;
  impl_->addresses.clear();
  impl_->advertised.clear();
  impl_->routes.clear();
  impl_->mtu = 0;
  impl_->set_state(ClientState::Idle, {});
}

void TunnelClient::on_network_changed() {
  impl_->fallback.on_network_changed();
  if (impl_->phase == Impl::Phase::Waiting) impl_->reconnector.on_network_changed(impl_->now);
}

void TunnelClient::on_dialed(HttpConnection& connection) {
  if (impl_->phase != Impl::Phase::Dialing) {
    // Too late: the attempt was given up meanwhile.
    connection.close(impl_->now, HttpError::NoError, "not needed any more");
    impl_->events.push_back(HangUp{});
    return;
  }
  impl_->connection = &connection;
  impl_->connection_gone = false;
  impl_->phase = Impl::Phase::Settings;
  if (connection.usable()) impl_->open_request();
}

void TunnelClient::on_connection_lost(std::string_view reason) {
  const bool attempt = impl_->connection != nullptr || impl_->phase == Impl::Phase::Dialing;
  if (!attempt) return;
  impl_->connection = nullptr;  // the host has no use for a HangUp
  impl_->connection_gone = false;
  impl_->lose(std::string(reason), Impl::Loss::Passing);
}

void TunnelClient::set_site_subnets(const std::vector<IpPrefix>& subnets) {
  if (subnets == impl_->config.site_subnets) return;
  impl_->config.site_subnets = subnets;
  if (impl_->tunnel) impl_->advertise_site();
}

void TunnelClient::set_acceptance(RouteAcceptance acceptance) {
  if (acceptance == impl_->config.acceptance) return;
  impl_->config.acceptance = std::move(acceptance);
  if (!mutant("accept.live.remove")) impl_->take_routes();
}

// --- turns and timers ---

void TunnelClient::begin_turn(Instant now, TransmitTarget& transmit, PacketSink& tun) {
  impl_->now = now;
  impl_->transmit = &transmit;
  impl_->tun = &tun;
}

void TunnelClient::flush() {
  if (impl_->connection_gone) on_connection_lost("the connection ended");
  if (impl_->tunnel) impl_->settle();
}

bool TunnelClient::wants_more() const {
  return !impl_->tunnel || impl_->tunnel->session.wants_more();
}

std::optional<Instant> TunnelClient::next_timeout() const {
  auto next = earlier(impl_->reconnector.next_timeout(),
                      earlier(impl_->answer_deadline, impl_->routes_deadline));
  next = earlier(next, impl_->routes_throttle.next_timeout());
  next = earlier(next, impl_->fallback.next_timeout());
  if (impl_->tunnel) next = earlier(next, impl_->tunnel->session.next_timeout());
  return next;
}

void TunnelClient::on_timeout(Instant now) {
  impl_->now = now;
  if (impl_->fallback.on_timeout(now) && impl_->ipv4_only && impl_->tunnel) {
    impl_->lose("asking for IPv6 again", Impl::Loss::Passing);
    impl_->reconnector.dial_at(now);
  }
  if (impl_->reconnector.on_timeout(now)) {
    if (impl_->state == ClientState::Failed)
      impl_->set_state(ClientState::Connecting, impl_->last_error);
    impl_->dial();
  }
  if (impl_->tunnel) {
    Impl::ToTun handler(*impl_->tun);
    impl_->tunnel->session.on_timeout(now, impl_->tunnel->channel, handler);
    impl_->process_events();
  }
  if (const auto due = impl_->routes_throttle.next_timeout(); due && now >= *due)
    impl_->take_routes_in_time();
  if (impl_->routes_deadline && now >= *impl_->routes_deadline) {
    impl_->become_up_when_ready();
    impl_->routes_deadline.reset();  // the addresses may have been withdrawn meanwhile
  }
  if (impl_->answer_deadline && now >= *impl_->answer_deadline) {
    const bool silent =
        impl_->phase == Impl::Phase::Dialing || impl_->phase == Impl::Phase::Settings;
    impl_->lose(silent ? "the gateway does not answer"
                : impl_->phase == Impl::Phase::Answer
                    ? "the gateway did not answer the request in time"
                    : "the gateway assigned no address in time",
                Impl::Loss::Passing);
  }
}

std::optional<ClientEvent> TunnelClient::poll_event() {
  if (impl_->events.empty()) return std::nullopt;
  ClientEvent event = std::move(impl_->events.front());
  impl_->events.pop_front();
  return event;
}

// --- state ---

ClientState TunnelClient::state() const { return impl_->state; }
const std::string& TunnelClient::last_error() const { return impl_->last_error; }
std::string TunnelClient::authority() const { return impl_->uri_template.authority(); }
std::vector<IpPrefix> TunnelClient::addresses() const { return impl_->addresses; }
std::vector<IpPrefix> TunnelClient::routes() const { return impl_->routes; }
size_t TunnelClient::mtu() const { return impl_->mtu; }
uint64_t TunnelClient::reconnects() const { return impl_->reconnects; }
std::optional<Instant> TunnelClient::connected_since() const { return impl_->connected_since; }

TunnelCounters TunnelClient::counters() const {
  TunnelCounters out = impl_->totals;
  if (impl_->tunnel) out.add(impl_->tunnel->session.counters());
  return out;
}

SessionFigures TunnelClient::figures() const {
  return impl_->tunnel ? impl_->tunnel->session.figures() : SessionFigures{};
}

}  // namespace masque
