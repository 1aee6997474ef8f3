// SPDX-License-Identifier: Apache-2.0
// One connection of the client: request, answer, session, packets.
#include <algorithm>
#include <format>
#include <utility>

#include "base/log.h"
#include "base/mutant.h"
#include "core/client/response.h"
#include "core/client/tunnel_client_impl.h"
#include "core/ip/packet.h"

namespace masque {
namespace {

// ROUTE_ADVERTISEMENT follows ADDRESS_ASSIGN at once, if it comes at all.
constexpr Duration kRoutesWait = 1s;

constexpr std::string_view kTooNarrow = "the path cannot carry IPv6 packets of 1280 bytes";

bool is_v4(const IpPrefix& prefix) { return prefix.version() == IpVersion::V4; }
bool is_v6(const IpPrefix& prefix) { return prefix.version() == IpVersion::V6; }

const IpPrefix kAnyV4 = IpPrefix::host(IpAddress::any(IpVersion::V4));
const IpPrefix kAnyV6 = IpPrefix::host(IpAddress::any(IpVersion::V6));

}  // namespace

// --- the request ---

void TunnelClient::on_settings(HttpConnection& connection) {
  if (!impl_->is_ours(connection) || impl_->phase != Impl::Phase::Settings) return;
  const Impl::Reading reading(*impl_);
  if (!connection.usable() && impl_->config.settings == TunnelClientConfig::Settings::Require) {
    // RFC 9220 3, RFC 9297 2.1.1: neither extended CONNECT nor datagrams before the peer allowed
    // them.
    return impl_->lose(
        std::format("the gateway does not offer CONNECT-IP: {}", connection.why_not()),
        Impl::Loss::Refused);
  }
  impl_->open_request();
}

UriTemplate::Values TunnelClient::Impl::template_values() const {
  UriTemplate::Values values = to_values(scope);
  // RFC 9484 4.6: a prefix implies its IP version.
  if (ipv4_only && uri_template.has_variable("target")) values.target = "0.0.0.0/0";
  return values;
}

HeaderFields TunnelClient::Impl::request_fields() const {
  // RFC 9484 4.5; the authority keeps its port exactly as it is configured.
  HeaderFields fields = {{":method", "CONNECT"},
                         {":protocol", config.protocol_name},
                         {":scheme", uri_template.scheme()},
                         {":authority", uri_template.authority()},
                         {":path", uri_template.expand_path(template_values())},
                         {"capsule-protocol", "?1"}};
  if (!config.bearer_token.empty()) {
    fields.push_back({"authorization", "Bearer " + config.bearer_token});
  }
  if (const auto offer = connection->offer_path_layer(config.resilience)) {
    fields.push_back({std::string(kPathLayerField), offer->to_field()});
  }
  return fields;
}

void TunnelClient::Impl::open_request() {
  ipv4_only = fallback.ipv4_only();
  stream = connection->open_request(now, request_fields());
  if (!stream) return lose("the gateway takes no requests", Loss::Passing);
  phase = Phase::Answer;
}

void TunnelClient::on_response(HttpConnection& connection, StreamId stream,
                               const HeaderFields& fields, bool fin) {
  if (!impl_->is_ours(connection, stream) || impl_->phase != Impl::Phase::Answer) return;
  const Impl::Reading reading(*impl_);
  impl_->on_response(fields, fin);
}

void TunnelClient::Impl::on_response(const HeaderFields& fields, bool fin) {
  const ResponseVerdict verdict = judge_response(fields);
  switch (verdict.kind) {
    case ResponseVerdict::Kind::Tunnel:
      if (fin) return lose("the gateway closed the tunnel at once", Loss::Passing, verdict.status);
      if (const auto field = find_field(fields, kPathLayerField)) {
        if (const auto offer = PathOffer::parse(*field)) {
          connection->start_path_layer(config.resilience, *offer);
        }
      }
      return start_session();
    case ResponseVerdict::Kind::Malformed:
      connection->abort_stream(*stream, HttpError::Message);
      return lose(verdict.reason, Loss::Refused, verdict.status);
    case ResponseVerdict::Kind::Refused:
      // RFC 9484 4.5: every other answer, redirects too, is a failure and ends the request.
      connection->abort_stream(*stream, HttpError::RequestCancelled);
      return lose(verdict.reason, Loss::Refused, verdict.status);
    case ResponseVerdict::Kind::Later:
      connection->abort_stream(*stream, HttpError::RequestCancelled);
      return lose(verdict.reason, Loss::Passing, verdict.status);
  }
}

void TunnelClient::Impl::start_session() {
  SessionOptions options{
      .role = SessionOptions::Role::Client,
      .peer_sources = PacketFilter::PeerSources::Unknown,
      .our_sources = PacketFilter::OurSources::Ours,
      .local_echo = config.local_echo == TunnelClientConfig::LocalEcho::Answer
                        ? SessionOptions::LocalEcho::Answer
                        : SessionOptions::LocalEcho::Kernel,
      .wanted = config.wanted_addresses,
      .address_wait = config.address_wait,
      .queue_bytes_max = config.queue_bytes_max,
      .classifier = config.classifier,
      .release = config.release,
      .flow_seed = flow_seed,
      .ipv6 = ipv4_only ? SessionOptions::Ipv6::Refused : SessionOptions::Ipv6::Carried,
      .ipv6_probe = config.ipv6_probe,
      .ipv6_mtu_grace = config.ipv6_mtu_grace};
  if (config.mtu_max > 0) options.packet_size_max = config.mtu_max;
  for (const IpPrefix& prefix : config.static_addresses) {
    options.own_addresses.push_back(prefix.address());
  }
  if (!config.static_addresses.empty()) {
    options.wanted.clear();  // RFC 9484 4.7.2: nothing to ask for with out-of-band addresses
  } else if (options.wanted.empty()) {
    options.wanted = {kAnyV4, kAnyV6};
  }
  if (ipv4_only) std::erase_if(options.wanted, is_v6);
  tunnel = std::make_unique<Tunnel>(*this, *connection, *stream, now, std::move(options));
  phase = Phase::Addresses;
  if (!config.site_subnets.empty()) advertise_site();
  connection->enable_datagrams(now, *stream);  // delivers packets that came before the answer
  if (!config.static_addresses.empty()) on_addresses();
}

// RFC 9484 4.7.3: the complete list; an empty one withdraws all.
void TunnelClient::Impl::advertise_site() {
  std::vector<IpAddressRange> ranges;
  for (const IpPrefix& prefix : config.site_subnets)
    ranges.push_back({.range = IpRange::of(prefix)});
  tunnel->session.advertise_routes(std::move(ranges));
}

// --- what comes in ---

void TunnelClient::on_stream_data(HttpConnection& connection, StreamId stream, Bytes data) {
  if (!impl_->is_ours(connection, stream) || !impl_->tunnel) return;
  const Impl::Reading reading(*impl_);
  Impl::ToTun handler(*impl_->tun);
  impl_->tunnel->session.on_stream_data(impl_->now, data, handler);
  impl_->process_events();
}

void TunnelClient::on_http_datagram(HttpConnection& connection, StreamId stream, Bytes payload) {
  if (!impl_->tunnel || !impl_->is_ours(connection, stream)) return;
  const Impl::Reading reading(*impl_);
  Impl::ToTun handler(*impl_->tun);
  impl_->tunnel->session.on_http_datagram(impl_->now, payload, handler,
                                          connection.datagram_origin());
}

void TunnelClient::on_stream_fin(HttpConnection& connection, StreamId stream) {
  if (!impl_->is_ours(connection, stream)) return;
  const Impl::Reading reading(*impl_);
  if (impl_->tunnel) {
    impl_->tunnel->session.on_stream_fin(impl_->now);
    impl_->process_events();
    if (!impl_->tunnel) return;  // it ended inside a capsule
  }
  connection.finish_stream(stream);
  impl_->lose("the gateway closed the tunnel", Impl::Loss::Passing);
}

void TunnelClient::on_stream_closed(HttpConnection& connection, StreamId stream,
                                    uint64_t error_code) {
  if (!impl_->is_ours(connection, stream)) return;
  const Impl::Reading reading(*impl_);
  // Both ends watch the width of the path, and either may be the first to end the tunnel.
  constexpr Duration kSlack = 2s;
  if (impl_->narrow_since &&
      impl_->now - *impl_->narrow_since + kSlack >= impl_->config.ipv6_mtu_grace) {
    impl_->fall_back_to_ipv4();
    return impl_->lose(std::string(kTooNarrow), Impl::Loss::Passing);
  }
  impl_->lose(std::format("the gateway aborted the tunnel ({})",
                          to_string(static_cast<HttpError>(error_code))),
              Impl::Loss::Passing);
}

void TunnelClient::on_goaway(HttpConnection& connection, StreamId first_unprocessed) {
  if (!impl_->is_ours(connection)) return;
  const Impl::Reading reading(*impl_);
  // RFC 9114 5.2: requests below the limit, a live tunnel among them, continue.
  if (impl_->stream && *impl_->stream < first_unprocessed) return;
  impl_->lose("the gateway is going away", Impl::Loss::Passing);
}

void TunnelClient::on_connection_gone(HttpConnection& connection) {
  if (!impl_->is_ours(connection)) return;
  impl_->connection_gone =
      true;  // on_connection_lost tells why, or flush() gives up waiting for it
  if (impl_->tunnel) impl_->totals.add(impl_->tunnel->session.counters());
  impl_->tunnel.reset();
}

// --- session events ---

void TunnelClient::Impl::process_events() {
  while (tunnel) {
    const auto event = tunnel->session.poll_event();
    if (!event) return;
    switch (*event) {
      case SessionEvent::AddressesAssigned:
        on_addresses();
        break;
      case SessionEvent::AddressesDenied:
        if (phase == Phase::Addresses && tunnel->session.assigned_to_us().empty()) {
          return lose("the gateway has no address for us", Loss::Passing);
        }
        break;
      case SessionEvent::AddressesRequested:
        // RFC 9484 4.7.2: every request is answered; a client has no addresses to give.
        tunnel->session.assign_addresses({});
        break;
      case SessionEvent::RoutesAdvertised:
        on_routes();
        break;
      case SessionEvent::Aborted:
        return on_session_aborted();
      case SessionEvent::UnknownCapsule:
        log_info("capsule.unknown",
                 {{"type", std::format("{:#x}", tunnel->session.unknown_capsule()->value())}});
        break;
      case SessionEvent::MtuProbeUnanswered:
        events.push_back(Ipv6Unproven{});
        break;
    }
  }
}

void TunnelClient::Impl::on_session_aborted() {
  const SessionAbort reason = *tunnel->session.abort_reason();
  std::string text;
  HttpError code = HttpError::RequestCancelled;
  switch (reason.cause) {
    case SessionAbort::Cause::Malformed:
      code = to_http_error(reason.error);
      text = std::format("the gateway broke the protocol: {}", to_string(reason.error));
      break;
    case SessionAbort::Cause::CapsuleTooSlow:
      text = "a capsule was not finished in time";
      break;
    case SessionAbort::Cause::MtuTooSmall:
      text = kTooNarrow;
      fall_back_to_ipv4();
      break;
    case SessionAbort::Cause::ProbeUnanswered:
      text = "the gateway answers no IPv6 pings";
      break;
  }
  connection->abort_stream(*stream, code);
  lose(std::move(text), Loss::Passing);
}

void TunnelClient::Impl::watch_width() {
  const ConnectIpSession& session = tunnel->session;
  const bool narrow =
      !ipv4_only && std::ranges::any_of(session.assigned_to_us(), is_v6) &&
      ((session.mtu() > 0 && session.mtu() < kIpv6MinimumMtu) || session.looks_narrow());
  if (ipv4_only && session.mtu() >= kIpv6MinimumMtu) fallback.on_wide_enough(now);
  if (!narrow) {
    narrow_since.reset();
  } else if (!narrow_since) {
    narrow_since = now;
  }
}

// From the next attempt on; only where IPv4 is something to fall back to.
void TunnelClient::Impl::fall_back_to_ipv4() {
  if (ipv4_only || scope.target != Scope::Target::Any || !config.static_addresses.empty() ||
      std::ranges::none_of(tunnel->session.assigned_to_us(), is_v4)) {
    return;
  }
  const bool by_quic = tunnel->session.mtu() < kIpv6MinimumMtu;
  fallback.on_too_narrow(now, by_quic ? Ipv6Fallback::ToldBy::Quic : Ipv6Fallback::ToldBy::Echo);
  events.push_back(
      Ipv6Dropped{.mtu = tunnel->session.mtu(), .retry_after = *fallback.next_timeout() - now});
}

void TunnelClient::Impl::on_addresses() {
  std::vector<IpPrefix> list = tunnel->session.assigned_to_us();
  if (ipv4_only) std::erase_if(list, is_v6);
  list.insert(list.end(), config.static_addresses.begin(), config.static_addresses.end());
  if (list != addresses) {
    addresses = std::move(list);
    events.push_back(AddressesChanged{.addresses = addresses});
  }
  if (phase == Phase::Addresses && !addresses.empty() && !routes_deadline) {
    routes_deadline = now + kRoutesWait;
  }
  become_up_when_ready();
}

void TunnelClient::Impl::on_routes() {
  std::vector<IpAddressRange> before =
      std::exchange(advertised, tunnel->session.advertised_by_peer());
  if (ipv4_only) {
    // What IPv6 was in the tunnel must not leave past it.
    const auto is_v6_range = [](const IpAddressRange& entry) {
      return entry.range.version() == IpVersion::V6;
    };
    std::erase_if(advertised, is_v6_range);
    std::ranges::copy_if(before, std::back_inserter(advertised), is_v6_range);
  }
  take_routes_in_time();
}

void TunnelClient::Impl::take_routes_in_time() {
  if (!routes_throttle.may_act(now) && !mutant("accept.rate.remove")) return;
  take_routes();
  become_up_when_ready();
}

// Of what the gateway advertised last, also while we dial again: the routing table is kept then.
void TunnelClient::Impl::take_routes() {
  AcceptedRoutes accepted = accept_routes(advertised, config.acceptance);
  if (tunnel && tunnel->session.has_routes())
    tunnel->session.accept_routes(std::move(accepted.ranges));
  if (accepted.prefixes != routes || accepted.refused_count > 0) {
    routes = std::move(accepted.prefixes);
    events.push_back(RoutesChanged{.routes = routes, .refused = std::move(accepted.refused)});
  }
}

void TunnelClient::Impl::become_up_when_ready() {
  if (phase != Phase::Addresses || !tunnel) return;
  // Those of this connection: `addresses` still holds the last connection's.
  if (tunnel->session.assigned_to_us().empty() && config.static_addresses.empty()) return;
  const bool waited = routes_deadline && now >= *routes_deadline;
  if (!tunnel->session.has_routes() && !waited) return;
  phase = Phase::Up;
  answer_deadline.reset();
  routes_deadline.reset();
  settle();  // the limit of this path, before anybody hears of "connected"
  connected_since = now;
  was_connected = true;
  last_error.clear();
  reconnector.on_connected(now);
  set_state(ClientState::Connected, {});
}

// --- what goes out ---

SendResult TunnelClient::Impl::Channel::send_packet(Instant at, const PacketSlices& packet,
                                                    TrafficClass traffic_class) {
  if (client_.reading) return SendResult::Blocked;
  const SendResult result =
      connection_.send_packet(at, stream_, packet, traffic_class, client_.transmit->batch());
  if (result != SendResult::Blocked || !client_.transmit->batch().room().empty()) return result;
  // Only the batch was full.
  client_.transmit->flush();
  return connection_.send_packet(at, stream_, packet, traffic_class, client_.transmit->batch());
}

void TunnelClient::Impl::settle() {
  ConnectIpSession& session = tunnel->session;
  session.update_mtu(now, tunnel->channel);
  watch_width();
  if (session.mtu() != mtu && session.mtu() > 0) {
    mtu = session.mtu();
    events.push_back(MtuChanged{.mtu = mtu});
  }
  session.consume_stream_output(
      connection->send_stream_data_that_fits(*stream, session.stream_output()));
  WayBackToTun back(*tun);
  session.flush(now, tunnel->channel, back);
}

void TunnelClient::on_tun_packet(const PacketSlices& packet) {
  if (!impl_->tunnel) {
    impl_->totals.drop(DropReason::NotReady);
    return;
  }
  ConnectIpSession& session = impl_->tunnel->session;
  const auto view = parse_ip_packet(packet);
  if (!view) {
    session.counters().drop(view.error() == PacketFault::RoutingHeaderType0
                                ? DropReason::RoutingHeader0
                                : DropReason::Malformed);
    return;
  }
  session.on_ip_packet(impl_->now, packet, *view, Forwarding::KernelDecrements,
                       impl_->tunnel->channel, *impl_->tun);
}

}  // namespace masque
