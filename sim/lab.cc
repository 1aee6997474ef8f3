// SPDX-License-Identifier: Apache-2.0
#include "sim/lab.h"

#include <algorithm>
#include <format>

namespace masque {

namespace {

constexpr std::string_view kServerName = "vpn.example";
constexpr std::string_view kTemplate =
    "https://vpn.example/.well-known/masque/ip/{target}/{ipproto}/";

}  // namespace

IpPrefix Lab::prefix(std::string_view text) {
  const auto parsed = IpPrefix::parse(text);
  MASQUE_ASSERT(parsed.has_value());
  return *parsed;
}

IpAddress Lab::address(std::string_view text) {
  const auto parsed = IpAddress::parse(text);
  MASQUE_ASSERT(parsed.has_value());
  return *parsed;
}

Lab::Lab(uint64_t seed, TlsFactory* real) : world(seed), seed_(seed), real_(real) {
  if (real_ == nullptr) openssl_.emplace(seed);
  internet_ = std::make_unique<InnerNode>(world, ledger, "internet");
  internet_->set_addresses({prefix("198.51.100.10"), prefix("2001:db8:99::10")});
}

Lab::~Lab() {
  // Traffic first, then the ends: nothing may call back into what is gone.
  flows_.clear();
  transfers_.clear();
}

std::unique_ptr<TlsContext> Lab::server_tls(size_t certificate_size) {
  if (real_ != nullptr) return real_->server(kServerName);
  return make_null_tls({.role = NullTlsOptions::Role::Server,
                        .identity = std::string(kServerName),
                        .client_certificates = ClientCertificates::Optional,
                        .certificate_size = certificate_size},
                       world.rng());
}

std::unique_ptr<TlsContext> Lab::client_tls(const std::string& identity, size_t hello_size) {
  if (real_ != nullptr) return real_->client(identity, kServerName);
  return make_null_tls({.role = NullTlsOptions::Role::Client,
                        .identity = identity,
                        .expected_peer = std::string(kServerName),
                        .hello_size = hello_size},
                       world.rng());
}

SimServer& Lab::add_server(ServerSetup setup) {
  if (setup.gateway.pools.empty())
    setup.gateway.pools = {prefix("10.8.0.0/24"), prefix("fd00:8::/64")};
  if (setup.policy.clients.empty() && !setup.policy.unknown_clients) {
    setup.policy.unknown_clients = ClientPolicy{.reach_gateway = GatewayReach::Tunnel};
  }
  if (setup.policy.default_routes.empty()) {
    setup.policy.default_routes = {prefix("10.8.0.0/24"), prefix("198.51.100.0/24"),
                                   prefix("fd00:8::/64"), prefix("2001:db8:99::/64")};
  }
  SimServer::Options options{.node = {.address = setup.address, .http = setup.http},
                             .gateway = std::move(setup.gateway),
                             .policy = std::move(setup.policy)};
  options.node.endpoint.quic = setup.quic;
  options.node.endpoint.quic.path_layer = path_layer_use(options.gateway.resilience.mode);
  options.node.endpoint.retry = setup.retry;
  options.node.endpoint.half_open_before_retry = setup.half_open_before_retry;
  server_ = std::make_unique<SimServer>(world, network, ledger, std::move(options),
                                        server_tls(setup.certificate_size));
  server_->add_inner(*internet_);
  return *server_;
}

ClientNode::Options Lab::client_options(const ClientSetup& setup) {
  ClientNode::Options out{.address = setup.address.value_or(IpAddress::v4(next_client_address_++)),
                          .server = {.address = IpAddress::v4(0xc0000201), .port = 443},
                          .quic = setup.quic,
                          .http = setup.http};
  out.quic.path_layer = path_layer_use(setup.tunnel.resilience.mode);
  return out;
}

SimClient& Lab::add_client(const std::string& name, ClientSetup setup) {
  if (setup.tunnel.uri_template.empty()) setup.tunnel.uri_template = kTemplate;
  auto tls = client_tls(name, setup.hello_size);
  clients_.push_back(std::make_unique<SimClient>(
      world, network, ledger,
      SimClient::Options{.name = name, .node = client_options(setup), .tunnel = setup.tunnel},
      std::move(tls)));
  network.set_links(clients_.back()->id(), setup.up, setup.down);
  return *clients_.back();
}

ScriptedClient& Lab::add_scripted_client(const std::string& name, const ClientSetup& setup) {
  scripted_clients_.push_back(std::make_unique<ScriptedClient>(
      world, network, client_options(setup), client_tls(name, setup.hello_size)));
  network.set_links(scripted_clients_.back()->id(), setup.up, setup.down);
  return *scripted_clients_.back();
}

ScriptedServer& Lab::add_scripted_server(ScriptedServer::OnRequest on_request,
                                         const ServerSetup& setup) {
  ServerNode::Options options{.address = setup.address, .http = setup.http};
  options.endpoint.quic = setup.quic;
  options.endpoint.retry = setup.retry;
  options.endpoint.half_open_before_retry = setup.half_open_before_retry;
  scripted_servers_.push_back(std::make_unique<ScriptedServer>(world, network, std::move(options),
                                                               server_tls(setup.certificate_size),
                                                               std::move(on_request)));
  return *scripted_servers_.back();
}

InnerNode& Lab::add_inner(std::string name, const std::vector<IpPrefix>& addresses) {
  inner_.emplace_back(world, ledger, std::move(name));
  inner_.back().set_addresses(addresses);
  return inner_.back();
}

bool Lab::connect(SimClient& client, Duration limit) {
  client.start();
  return until([&] { return client.connected(); }, limit);
}

bool Lab::ping_works(SimClient& client, Duration limit, IpVersion version, uint64_t replies) {
  Flow& flow = ping(client.inner(), *internet_, {.interval = 50ms, .version = version});
  const bool works = until([&] { return flow.arrived() >= replies; }, limit);
  flow.stop();
  return works;
}

namespace {

Flow::Destination address_of(InnerNode& node, IpVersion version) {
  return [&node, version] { return node.address(version); };
}

}  // namespace

namespace {

std::string text_of(const TunnelCounters& counters) {
  std::string out = std::format("sent {} received {} queued {}", counters.packets_sent,
                                counters.packets_received, counters.packets_queued);
  for (size_t i = 0; i < kDropReasons; ++i) {
    if (counters.drops[i] > 0)
      out += std::format(", {} {}", to_string(static_cast<DropReason>(i)), counters.drops[i]);
  }
  return out;
}

std::string text_of(QuicConnection& quic) {
  const QuicStats stats = quic.stats();
  return std::format(
      "rtt {} window {} in flight {} lost {} of {} payload {} datagrams up to {}, path {} -> {}",
      stats.smoothed_rtt / 1us, stats.congestion_window, stats.bytes_in_flight, stats.packets_lost,
      stats.packets_sent, stats.udp_payload_max, quic.datagram_size_max(),
      quic.path().local.to_string(), quic.path().remote.to_string());
}

}  // namespace

std::string Lab::describe(SimClient& client) {
  if (!client.running()) return "not running";
  const std::string name = client.inner().name();
  std::string out =
      std::format("{}: {} ({}), mtu {}, dials {}, {}\n", name, to_string(client.state()),
                  client.tunnel().last_error(), client.tunnel().mtu(), client.dials(),
                  text_of(client.tunnel().counters()));
  for (const IpPrefix& address : client.tunnel().addresses())
    out += "  has " + address.to_string() + "\n";
  for (const IpPrefix& route : client.routes()) out += "  route " + route.to_string() + "\n";
  if (client.connection() != nullptr)
    out += "  client's QUIC: " + text_of(client.connection()->quic()) + "\n";
  if (!server_ || !server_->running()) return out + "  no server\n";
  for (const SessionSnapshot& session : server_->gateway()->sessions()) {
    if (session.identity != name) continue;
    out += std::format("  session {} mtu {}: {}\n", session.session, session.mtu,
                       text_of(session.counters));
    for (const IpPrefix& address : session.addresses)
      out += "    has " + address.to_string() + "\n";
    if (auto* http = dynamic_cast<Http3Connection*>(session.connection)) {
      out += "    gateway's QUIC: " + text_of(http->quic()) + "\n";
    }
  }
  return out;
}

Flow& Lab::ping(InnerNode& from, InnerNode& to, FlowOptions options) {
  const IpVersion version = options.version;
  return flows_.emplace_back(world, ledger, Flow::Kind::Ping, from, address_of(to, version),
                             std::move(options));
}

Flow& Lab::stream(InnerNode& from, InnerNode& to, FlowOptions options) {
  const IpVersion version = options.version;
  return flows_.emplace_back(world, ledger, Flow::Kind::Datagrams, from, address_of(to, version),
                             std::move(options));
}

Flow& Lab::stream_to(InnerNode& from, const IpAddress& to, FlowOptions options) {
  options.version = to.version();
  return flows_.emplace_back(
      world, ledger, Flow::Kind::Datagrams, from, [to]() -> std::optional<IpAddress> { return to; },
      std::move(options));
}

Transfer& Lab::transfer(InnerNode& from, InnerNode& to, Transfer::Options options) {
  return transfers_.emplace_back(world, ledger, from, to, options);
}

void Lab::kill_server() {
  killed_sessions_ += server_->gateway()->session_count();
  server_->kill();
}

void Lab::finish() {
  for (Flow& flow : flows_) flow.stop();
  run(2s);
  // The network heals, so that goodbyes arrive; whoever has none is found by its idle timeout.
  network.set_filter(nullptr);
  for (auto& client : clients_) {
    network.set_links(client->id(), {});
    if (client->running()) client->stop();
  }
  for (auto& client : scripted_clients_) {
    network.set_links(client->id(), {});
    client->act([this](Http3Connection& http, TransmitTarget&) {
      http.close(world.now(), HttpError::NoError, "");
    });
  }
  if (!server_ || !server_->running()) return;
  constexpr Duration kGoneAfter = 120s;
  const bool empty =
      until([&] { return server_->gateway()->session_count() == 0 && server_->endpoint().idle(); },
            kGoneAfter);
  if (!empty) {
    world.violation(std::format("I-11: {} sessions and {} connections are left on the server",
                                server_->gateway()->session_count(),
                                server_->endpoint().connection_count()));
  }
  if (server_->endpoint().next_timeout())
    world.violation("I-11: the server's timer heap is not empty");
  if (server_->sessions_up().size() != server_->sessions_down().size() + killed_sessions_) {
    world.violation(std::format("I-11: {} sessions came up, {} ended",
                                server_->sessions_up().size(), server_->sessions_down().size()));
  }
}

}  // namespace masque
