// SPDX-License-Identifier: Apache-2.0
#include "service/server_service.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <format>
#include <utility>

#include "base/log.h"
#include "host/clock.h"
#include "service/exit_code.h"
#include "service/files.h"
#include "service/policy_builder.h"
#include "service/remedy.h"
#include "service/startup.h"
#include "service/status_builder.h"

namespace masque {

namespace {

constexpr Duration kFlushTimeout = 2s;

int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(wall_clock_now().time_since_epoch())
      .count();
}

RetryPolicy retry_of(RetryChoice choice) {
  switch (choice) {
    case RetryChoice::Auto:
      return RetryPolicy::Auto;
    case RetryChoice::Always:
      return RetryPolicy::Always;
    case RetryChoice::Never:
      return RetryPolicy::Never;
  }
  std::unreachable();
}

std::string join(const std::vector<IpPrefix>& prefixes) {
  std::string out;
  for (const IpPrefix& prefix : prefixes) out += (out.empty() ? "" : ",") + prefix.to_string();
  return out;
}

}  // namespace

ServerService::~ServerService() {
  if (host_addresses_) loop_->remove(host_addresses_->fd());
}

std::expected<void, StartError> ServerService::start() {
  started_ = monotonic_now();
  notifier_ = ServiceNotifier::from_environment();
  TRY(ServiceLoop made, make_service_loop([this](int number) { on_signal(number); }));
  loop_ = std::move(made.loop);
  TRY(watchdog_, start_watchdog(*loop_, notifier_));
  resolver_ = std::move(made.resolver);
  TRY(tls_, make_tls(config_));
  // The control socket comes early: it refuses a second instance before anything is touched. Files
  // come late: a start that is refused leaves none.
  TRY_VOID(open_control());
  TRY_VOID(open_sockets());
  TRY_VOID(open_interface());
  TRY_VOID(open_state());
  TRY_VOID(start_gateway());
  state_ = ServiceState::Listening;
  log_info("server.listening", {{"address", config_.listen.to_string()},
                                {"interface", tun_->name()},
                                {"pools", join(config_.pools)},
                                {"users", users_.all().size()}});
  notifier_.ready("listening on " + config_.listen.to_string());
  return {};
}

std::expected<void, StartError> ServerService::open_state() {
  auto store = Store::open(config_.database, Store::Open::CreateOrExisting);
  if (!store) return start_failed(store.error());
  store_ = std::move(*store);
  if (const auto read = read_users(); !read) return start_failed(read.error());
  auto writer_store = Store::open(config_.database, Store::Open::Existing);
  if (!writer_store) return start_failed(writer_store.error());
  writer_ = std::make_unique<StoreWriter>(std::move(*writer_store));
  auto keys = ServerKeys::load_or_create(config_.state_dir + "/server.keys", rng_);
  if (!keys) return start_failed(keys.error());
  keys_ = *keys;
  return {};
}

StoreResult<void> ServerService::read_users() {
  auto users = UserDirectory::read(*store_);
  if (!users) {
    // Policy that cannot be read changes nothing: the old one stays in force.
    log_error("policy.unreadable", {{"error", users.error().text}});
    return std::unexpected(users.error());
  }
  users_ = std::move(*users);
  return {};
}

std::expected<std::unique_ptr<TlsContext>, StartError> ServerService::make_tls(
    const ServerConfig& config) {
  ClientCertificates wanted = ClientCertificates::Required;
  if (config.auth_mode == ServerConfig::AuthMode::CertificateOrToken)
    wanted = ClientCertificates::Optional;
  if (config.auth_mode == ServerConfig::AuthMode::Token) wanted = ClientCertificates::None;
  auto tls = make_tls_server({.certificate_pem = config.certificate.pem,
                              .key_pem = config.key.pem,
                              .client_ca_pem = config.ca_certificate.pem,
                              .client_certificates = wanted,
                              .key_log = {}});
  if (!tls) return start_failed(kExitConfiguration, config.file + ": " + tls.error());
  return std::move(*tls);
}

std::expected<void, StartError> ServerService::open_interface() {
  TRY(ServiceInterface made, make_service_interface(config_.tun_name, 0, config_.control_socket));
  tun_.emplace(std::move(made.tun));
  interface_.emplace(std::move(made.interface));
  // What a killed run left behind goes also where this one wants nothing of the kind.
  Nat::remove_stale(tun_->name());
  IpForwarding::recall(forwarding_note(config_));
  if (const auto done = apply_forwarding(config_); !done) return start_failed(done.error());
  if (const auto done = apply_nat(config_); !done) return start_failed(done.error());
  return watch_host_addresses();
}

std::expected<void, StartError> ServerService::watch_host_addresses() {
  auto addresses = HostAddresses::create(interface_->index());
  if (!addresses) return start_failed(addresses.error());
  host_addresses_.emplace(std::move(*addresses));
  const auto watched = loop_->add(host_addresses_->fd(), EventLoop::kReadable,
                                  [this](EventLoop::Ready) { on_host_addresses(); });
  if (!watched) return start_failed(watched.error());
  return {};
}

void ServerService::on_host_addresses() {
  const auto changed = host_addresses_->refresh();
  if (!changed) {
    log_error("addresses.unreadable", {{"error", changed.error().message()}});
  } else if (*changed) {
    apply_policy();
  }
}

std::unique_ptr<const PolicySnapshot> ServerService::policy() const {
  return build_policy(config_, users_, host_addresses_->prefixes());
}

void ServerService::apply_policy() {
  worker_->with_gateway([this](Gateway& gateway) { gateway.set_policy(policy()); });
}

std::expected<void, StartError> ServerService::open_sockets() {
  std::vector<SocketAddress> addresses{config_.listen};
  // The IPv6 wildcard means both versions; sockets here carry one each.
  if (config_.listen.address == IpAddress::any(IpVersion::V6)) {
    addresses.push_back({.address = IpAddress::any(IpVersion::V4), .port = config_.listen.port});
  }
  sockets_.reserve(addresses.size());
  for (const SocketAddress& address : addresses) {
    auto socket = UdpSocket::create({.bind = address});
    if (socket) {
      sockets_.push_back(std::move(*socket));
      continue;
    }
    if (socket.error().code == EAFNOSUPPORT && addresses.size() > 1)
      continue;  // a host without IPv6
    if (socket.error().code == EADDRINUSE) {
      return start_failed(
          kExitFailed,
          std::format(
              "UDP {} is in use by another program: stop it, or choose another listen_addr in {}",
              address.to_string(), config_.file));
    }
    if (socket.error().code == EADDRNOTAVAIL) {
      return start_failed(
          fault_of(config_, "listen_addr",
                   std::format("{} is not an address of this machine: name one that is, or [::]",
                               address.address.to_string())));
    }
    return start_failed(socket.error());
  }
  if (sockets_.empty())
    return start_failed(kExitFailed,
                        "no UDP socket could be opened for " + config_.listen.to_string());
  return {};
}

std::expected<void, StartError> ServerService::start_gateway() {
  GatewayConfig gateway{.name = config_.server_name.empty() ? "masque-vpn" : config_.server_name};
  switch (config_.auth_mode) {
    case ServerConfig::AuthMode::Certificate:
      gateway.authentication = GatewayConfig::Authentication::Certificate;
      break;
    case ServerConfig::AuthMode::CertificateOrToken:
      gateway.authentication = GatewayConfig::Authentication::CertificateOrToken;
      break;
    case ServerConfig::AuthMode::Token:
      gateway.authentication = GatewayConfig::Authentication::Token;
      break;
  }
  gateway.hash_token = hash_token;
  gateway.pools = config_.pools;
  gateway.lease_kind = config_.lease_kind;
  gateway.ipv6_probe = config_.ipv6_probe;
  gateway.resilience = config_.resilience.path;
  gateway.classifier = config_.resilience.classifier;
  gateway.release = config_.resilience.release;
  gateway.sessions_max = config_.limits.clients_max;
  gateway_ = std::make_unique<Gateway>(gateway, rng_, policy());

  if (auto stored = store_->leases()) {
    for (const Lease& lease : *stored) leases_[lease.identity].push_back(lease.prefix);
  } else {
    return start_failed(stored.error());
  }
  if (config_.lease_kind == LeaseKind::Fresh) forget_leases();
  for (const auto& [identity, addresses] : leases_) {
    if (!gateway_->load_lease(identity, addresses)) {
      log_warn("lease.outside_pools", {{"client", identity}, {"addresses", join(addresses)}});
    }
  }

  wanted_.mtu = interface_mtu(config_);
  const std::vector<IpAddress> own = gateway_->own_addresses();
  for (size_t i = 0; i < own.size() && i < config_.pools.size(); ++i) {
    wanted_.addresses.push_back({.address = own[i], .length = config_.pools[i].length()});
  }
  wanted_.routes = config_.pools;
  if (const auto applied = apply_interface(); !applied) return start_failed(applied.error());

  ServerWorker::Options options;
  options.endpoint.quic.congestion_control = congestion_control_of(config_.quic.congestion);
  options.endpoint.quic.idle_timeout = config_.quic.idle_timeout;
  options.endpoint.quic.keep_alive = Duration::zero();
  options.endpoint.quic.path_layer = path_layer_use(config_.resilience.path.mode);
  options.endpoint.static_secret = keys_.stateless_reset;
  options.endpoint.retry = retry_of(config_.quic.retry);
  options.endpoint.half_open_max = config_.limits.half_open_max;
  options.endpoint.connections_max = config_.limits.clients_max + config_.limits.half_open_max;
  worker_ = std::make_unique<ServerWorker>(*loop_, sockets_, *tun_, *gateway_, *tls_, options);
  worker_->set_on_event([this](GatewayEvent event) { on_event(std::move(event)); });
  worker_->set_on_tun_lost([this](const SysError& error) { on_tun_lost(error); });
  if (const auto running = worker_->start(); !running) return start_failed(running.error());
  return {};
}

Result<void, SysError> ServerService::apply_interface() {
  TRY(const ApplyReport report, interface_->apply(wanted_));
  for (const IpPrefix& conflict : report.conflicts) {
    log_warn("route.conflict",
             {{"route", conflict.to_string()}, {"why", "another interface has it already"}});
  }
  if (report.ipv6_unavailable) log_warn("interface.no_ipv6", {{"interface", tun_->name()}});
  return {};
}

// Each time the kernel's whole table is read: once for all that a turn changes.
void ServerService::apply_interface_soon() {
  if (std::exchange(applies_soon_, true)) return;
  loop_->post([this] {
    applies_soon_ = false;
    if (const auto applied = apply_interface(); !applied) {
      log_error("interface.failed", {{"error", applied.error().message()}});
    }
  });
}

std::expected<void, StartError> ServerService::open_control() {
  auto control =
      ControlServer::create(*loop_, {.path = config_.control_socket, .mode = 0660, .group = {}},
                            [this](ControlServer::ClientId client, const ControlServer::Peer&,
                                   std::string_view line) { on_control(client, line); });
  if (control) {
    control_ = std::move(*control);
    return {};
  }
  if (control.error().code == EADDRINUSE) {
    return start_failed(
        kExitFailed, std::format("a server runs with {} already (control socket {})", config_.file,
                                 config_.control_socket));
  }
  return start_failed(control.error());
}

// ---- running ----------------------------------------------------------------------------------

int ServerService::run() {
  if (const auto ended = loop_->run(); !ended) {
    log_error("loop.failed", {{"error", ended.error().message()}});
    exit_code_ = kExitFailed;
  }
  if (!writer_->flush(kFlushTimeout)) log_warn("store.not_flushed");
  log_info("server.stopped");
  return exit_code_;
}

void ServerService::on_signal(int signal) {
  if (signal == SIGHUP) {
    notifier_.reloading();
    const auto done = reload();
    notifier_.ready(done ? "reloaded" : "reload failed: " + done.error().text);
    return;
  }
  stop();
}

// The clients are told; the ShutDown event stops the loop. A second signal hastens it.
void ServerService::stop() {
  if (state_ != ServiceState::Draining) {
    state_ = ServiceState::Draining;
    notifier_.stopping("saying goodbye to the clients");
    worker_->refuse_new_connections();
  }
  worker_->with_gateway([](Gateway& gateway) { gateway.shut_down(); });
}

void ServerService::on_tun_lost(const SysError& error) {
  log_error("tun.lost", {{"interface", tun_->name()}, {"error", error.message()}});
  exit_code_ = kExitFailed;
  stop();
}

void ServerService::on_event(GatewayEvent event) {
  if (const auto* up = std::get_if<SessionUp>(&event)) {
    log_info(
        "session.up",
        {{"client", up->identity}, {"session", up->session}, {"addresses", join(up->addresses)}});
  } else if (const auto* down = std::get_if<SessionDown>(&event)) {
    log_info("session.down", {{"client", down->identity},
                              {"session", down->session},
                              {"why", to_string(down->end)},
                              {"detail", down->detail}});
  } else if (const auto* unproven = std::get_if<SessionUnproven>(&event)) {
    log_info("session.ipv6_unproven", {{"client", unproven->identity},
                                       {"session", unproven->session},
                                       {"why", "it answers no IPv6 pings"}});
  } else if (const auto* refused = std::get_if<RequestRefused>(&event)) {
    log_info("request.refused",
             {{"client", refused->identity},
              {"status", refused->status},
              {"why", with_remedy(refused->detail, remedy_of(refused->shortage))}});
  } else if (const auto* lease = std::get_if<LeaseChanged>(&event)) {
    store_lease(*lease);
  } else if (const auto* routes = std::get_if<KernelRoutesChanged>(&event)) {
    for (const IpPrefix& route : routes->removed) std::erase(wanted_.routes, route);
    wanted_.routes.insert(wanted_.routes.end(), routes->added.begin(), routes->added.end());
    apply_interface_soon();
  } else if (const auto* resolve = std::get_if<ResolveName>(&event)) {
    const uint64_t ticket = resolve->ticket;
    resolver_->resolve(resolve->name, 0, 5s, [this, ticket](Resolver::Answer answer) {
      std::vector<IpAddress> addresses;
      if (answer)
        std::ranges::transform(*answer, std::back_inserter(addresses), &SocketAddress::address);
      worker_->with_gateway([&](Gateway& gateway) { gateway.on_resolved(ticket, addresses); });
    });
  } else if (std::holds_alternative<ShutDown>(event)) {
    loop_->stop();
  }
}

// Leases of a time when they were sticky say who had which address: of no use any more.
void ServerService::forget_leases() {
  for (const auto& [identity, addresses] : leases_) {
    for (const IpPrefix& prefix : addresses) writer_->remove_lease(prefix);
  }
  leases_.clear();
}

void ServerService::store_lease(const LeaseChanged& lease) {
  for (const IpPrefix& former : leases_[lease.identity]) {
    if (std::ranges::find(lease.addresses, former) == lease.addresses.end())
      writer_->remove_lease(former);
  }
  for (const IpPrefix& prefix : lease.addresses) {
    writer_->put_lease({.identity = lease.identity, .prefix = prefix, .last_seen = unix_seconds()});
  }
  if (lease.addresses.empty()) {
    leases_.erase(lease.identity);
  } else {
    leases_[lease.identity] = lease.addresses;
  }
}

// ---- control ----------------------------------------------------------------------------------

void ServerService::on_control(ControlServer::ClientId client, std::string_view line) {
  const auto request = parse_control_request(line);
  control_->send(client, request ? answer(*request) : control_error(request.error()));
}

std::string ServerService::answer(const ControlRequest& request) {
  if (std::holds_alternative<StatusRequest>(request)) return control_ok(status());
  if (!worker_) return control_error("the server is still starting");
  if (const auto* set = std::get_if<SessionSetRequest>(&request)) {
    std::expected<size_t, std::string> result = std::unexpected("");
    worker_->with_gateway([&](Gateway& gateway) {
      result = gateway.set_session(set->user, {.addresses = set->addresses, .routes = set->routes});
    });
    if (!result) return control_error(result.error());
    log_info("session.changed", {{"client", set->user},
                                 {"sessions", *result},
                                 {"addresses", set->addresses ? join(*set->addresses) : "kept"},
                                 {"routes", set->routes ? join(*set->routes) : "kept"}});
    return control_sessions(*result);
  }
  if (const auto* kick = std::get_if<SessionKickRequest>(&request)) {
    size_t count = 0;
    worker_->with_gateway([&](Gateway& gateway) { count = gateway.kick(kick->user); });
    return control_sessions(count);
  }
  if (const auto* revoke = std::get_if<UserRevokeRequest>(&request)) {
    size_t count = 0;
    const bool readable = read_users().has_value();
    worker_->with_gateway([&](Gateway& gateway) {
      count = gateway.revoke(revoke->user);
      if (readable) gateway.set_policy(policy());
    });
    return control_sessions(count);
  }
  if (std::holds_alternative<UserChangedRequest>(request)) {
    if (const auto read = read_users(); !read)
      return control_error(read.error().text, exit_code_of(read.error()));
    apply_policy();
    return control_ok();
  }
  const auto done = reload();
  return done ? control_ok() : control_error(done.error().text, done.error().exit_code);
}

ServiceStatus ServerService::status() const {
  const Instant now = monotonic_now();
  ServiceStatus out{.role = ServiceRole::Server,
                    .state = state_,
                    .version = program_version(),
                    .config_file = config_.file,
                    .pid = static_cast<uint32_t>(::getpid()),
                    .uptime = now - started_,
                    .interface = tun_ ? tun_->name() : "",
                    .resilience_mode = std::string(to_string(config_.resilience.path.mode)),
                    .listen = config_.listen.to_string(),
                    .pools = config_.pools,
                    .routes = config_.routes};
  if (!gateway_) return out;
  for (const IpAddress& address : gateway_->own_addresses())
    out.addresses.push_back(IpPrefix::host(address));
  out.counters = traffic_of(gateway_->counters().packets);
  for (const SessionSnapshot& session : gateway_->sessions()) {
    out.sessions.push_back({.user = session.identity,
                            .addresses = session.addresses,
                            .routes = session.routes,
                            .site_routes = session.site_subnets,
                            .mtu = static_cast<uint32_t>(session.mtu),
                            .ipv6_probe = std::string(to_string(session.figures.ipv6_probe)),
                            .connected_for = now - session.since,
                            .path = path_of(session.connection, session.figures, now),
                            .classes = classes_of(session.figures),
                            .counters = traffic_of(session.counters)});
  }
  return out;
}

}  // namespace masque
