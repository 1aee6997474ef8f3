// SPDX-License-Identifier: Apache-2.0
#include "service/client_service.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <format>

#include "base/log.h"
#include "core/ip/packet.h"
#include "host/clock.h"
#include "service/exit_code.h"
#include "service/remedy.h"
#include "service/startup.h"
#include "service/status_builder.h"

namespace masque {

namespace {

constexpr std::string_view kAppliedByReload[] = {
    "log_level",      "routes.accept",         "routes.accept_default",
    "routes.exclude", "site.advertise_routes",
};

// The exit code of a connection that cannot work however often it is tried; 0: try again.
int hopeless(const CloseReason& reason) {
  if (reason.cause == CloseReason::Cause::Tls) return kExitRefused;
  if (reason.cause == CloseReason::Cause::VersionNegotiation) return kExitUnreachable;
  const bool tls_alert = reason.cause == CloseReason::Cause::Peer && !reason.application &&
                         reason.code >= 0x100 && reason.code < 0x200;
  if (!tls_alert) return 0;
  constexpr uint64_t kNoApplicationProtocol = 0x178;  // RFC 9001 8.1
  return reason.code == kNoApplicationProtocol ? kExitUnreachable : kExitRefused;
}

// A refusal that time may mend, as core/client/response.cc has it.
bool is_passing(unsigned status) {
  if (status >= 500) return status != 501 && status != 505;
  return status == 408 || status == 425 || status == 429;
}

}  // namespace

ClientService::~ClientService() = default;

std::expected<void, StartError> ClientService::start() {
  started_ = monotonic_now();
  notifier_ = ServiceNotifier::from_environment();
  TRY(ServiceLoop made, make_service_loop([this](int number) { on_signal(number); }));
  loop_ = std::move(made.loop);
  TRY(watchdog_, start_watchdog(*loop_, notifier_));
  resolver_ = std::move(made.resolver);
  TRY_VOID(make_tls());
  TRY_VOID(open_control());
  TRY_VOID(open_interface());
  TRY_VOID(start_tunnel());
  return {};
}

std::expected<void, StartError> ClientService::make_tls() {
  TlsClientOptions options{.server_name = config_.server_name,
                           .ca_pem = config_.ca.pem,
                           .certificate_pem = config_.certificate.pem,
                           .key_pem = config_.key.pem};
  if (config_.verify == ClientConfig::Verify::Nothing) {
    options.verify = TlsClientOptions::Verify::InsecureSkip;
  }
  if (!config_.key_log_file.empty()) {
    const mode_t former = ::umask(0077);
    key_log_.open(config_.key_log_file, std::ios::app);
    const SysError why{.code = errno, .operation = "cannot write " + config_.key_log_file};
    ::umask(former);
    if (!key_log_) {
      return start_failed(fault_of(config_, "key_log_file",
                                   why.message() + "; name another file, or remove the line"));
    }
    log_warn("tls.key_log",
             {{"file", config_.key_log_file}, {"why", "whoever reads it can read the tunnel"}});
    options.key_log = [this](std::string_view line) { key_log_ << line << '\n' << std::flush; };
  }
  auto tls = make_tls_client(options);
  if (!tls) return start_failed(kExitConfiguration, config_.file + ": " + tls.error());
  tls_ = std::move(*tls);
  return {};
}

std::expected<void, StartError> ClientService::open_control() {
  auto control = ControlServer::create(
      *loop_, {.path = config_.control_socket, .mode = 0660, .group = {}},
      [this](ControlServer::ClientId client, const ControlServer::Peer&, std::string_view line) {
        control_->send(client, answer(line));
      });
  if (control) {
    control_ = std::move(*control);
    return {};
  }
  if (control.error().code == EADDRINUSE) {
    return start_failed(
        kExitFailed, std::format("a client runs with {} already (control socket {})", config_.file,
                                 config_.control_socket));
  }
  return start_failed(control.error());
}

std::expected<void, StartError> ClientService::open_interface() {
  TRY(ServiceInterface made,
      make_service_interface(config_.tun_name, config_.fwmark.value_or(0), config_.control_socket));
  tun_.emplace(std::move(made.tun));
  interface_.emplace(std::move(made.interface));
  return {};
}

RouteAcceptance ClientService::acceptance() const {
  const ClientConfig::Routes& routes = config_.routes;
  RouteAcceptance out{.exclude = routes.exclude};
  if (routes.accept == ClientConfig::RouteAccept::Listed) out.only = routes.accept_list;
  if (routes.accept == ClientConfig::RouteAccept::All || routes.accept_default) {
    out.defaults = RouteAcceptance::Defaults::Accept;
  }
  return out;
}

TunnelClientConfig ClientService::tunnel_config() const {
  TunnelClientConfig out;
  out.uri_template = config_.uri_template;
  if (out.uri_template.empty())
    out.uri_template = default_uri_template(config_.server_name, config_.server_port);
  out.bearer_token = config_.token;
  out.acceptance = acceptance();
  out.site_subnets = config_.site_routes;
  out.mtu_max = config_.mtu;
  out.ipv6_probe = config_.ipv6_probe;
  out.resilience = config_.resilience.path;
  out.classifier = config_.resilience.classifier;
  out.release = config_.resilience.release;
  // Certificates of one's own CA on both sides: no HTTP intermediary stands between, and QUIC's
  // search for the path MTU measures the whole tunnel (RFC 9484 7.2, docs/adr/0011).
  const bool direct = config_.certificate.present() && config_.ca.present() &&
                      config_.verify == ClientConfig::Verify::Server;
  if (direct && out.ipv6_probe == MtuProbePolicy::Measure) out.ipv6_probe = MtuProbePolicy::Off;
  return out;
}

std::expected<void, StartError> ClientService::start_tunnel() {
  auto client = TunnelClient::create(tunnel_config(), rng_);
  if (!client) return start_failed(fault_of(config_, "http.uri_template", client.error()));
  client_ = std::move(*client);
  ClientWorker::Options options{.host = config_.server_host, .port = config_.server_port};
  options.mark = interface_->mark();
  options.quic.congestion_control = congestion_control_of(config_.quic.congestion);
  options.quic.idle_timeout = config_.quic.idle_timeout;
  options.quic.keep_alive = config_.quic.keep_alive;
  options.quic.path_layer = path_layer_use(config_.resilience.path.mode);
  worker_ = std::make_unique<ClientWorker>(*loop_, *tun_, *client_, *tls_, *resolver_, options);
  worker_->set_on_event([this](const ClientEvent& event) { on_event(event); });
  worker_->set_on_tun_lost([this](const SysError& error) {
    give_up(kExitFailed,
            std::format("the interface {} is gone: {}", tun_->name(), error.message()));
  });
  state_ = ServiceState::Connecting;
  log_info("client.starting", {{"gateway", host_and_port(config_.server_host, config_.server_port)},
                               {"interface", tun_->name()}});
  if (const auto running = worker_->start(); !running) return start_failed(running.error());
  return {};
}

// ---- running ----------------------------------------------------------------------------------

int ClientService::run() {
  if (const auto ended = loop_->run(); !ended) {
    log_error("loop.failed", {{"error", ended.error().message()}});
    exit_code_ = kExitFailed;
  }
  log_info("client.stopped");
  return exit_code_;
}

void ClientService::on_signal(int signal) {
  if (signal != SIGHUP) return stop();
  // Ready means that the tunnel is up: a reload before that must not say so.
  if (was_connected_) notifier_.reloading();
  const auto done = reload();
  if (was_connected_) notifier_.ready(done ? "reloaded" : "reload failed: " + done.error().text);
}

// A profile holds an identity, which a running client keeps. What may change is which networks go
// into the tunnel and out of it: by capsule, the connection stays.
std::expected<void, StartError> ClientService::reload() {
  auto loaded = load_client_config(config_.file);
  for (const ConfigError& error : loaded.errors)
    log_error("reload.refused", {{"error", error.message()}});
  if (!loaded.config) return start_failed(kExitConfiguration, loaded.errors.front().message());
  ClientConfig& next = *loaded.config;
  warn_of_restart(config_.values, next.values, kAppliedByReload);
  config_.routes = std::move(next.routes);
  config_.site_routes = std::move(next.site_routes);
  config_.log = next.log;
  set_log_level(config_.log.level);
  worker_->with_client([this](TunnelClient& client) {
    client.set_acceptance(acceptance());
    client.set_site_subnets(config_.site_routes);
  });
  log_info("client.reloaded", {{"file", config_.file}});
  return {};
}

void ClientService::stop() {
  if (state_ != ServiceState::Draining) {
    state_ = ServiceState::Draining;
    notifier_.stopping("disconnecting");
    worker_->with_client([](TunnelClient& client) { client.stop(); });
  }
  loop_->stop();
}

void ClientService::give_up(int exit_code, const std::string& reason) {
  if (exit_code_ == 0) {
    exit_code_ = exit_code;
    log_error("client.gave_up", {{"why", reason}});
  }
  loop_->stop();
}

void ClientService::on_event(const ClientEvent& event) {
  if (const auto* state = std::get_if<ClientStateChanged>(&event)) {
    on_state(*state);
  } else if (const auto* addresses = std::get_if<AddressesChanged>(&event)) {
    wanted_.addresses.clear();
    for (const IpPrefix& prefix : addresses->addresses) {
      // As an address of this machine the gateway's own could not be reached any more.
      const auto covers = [&](const SocketAddress& outer) {
        return prefix.contains(outer.address);
      };
      if (std::ranges::any_of(worker_->outer_addresses(), covers)) {
        log_warn("address.refused",
                 {{"address", prefix.to_string()}, {"why", "it is the gateway's outer address"}});
        continue;
      }
      wanted_.addresses.push_back({.address = prefix.address(), .length = prefix.length()});
    }
    apply_interface();
  } else if (const auto* routes = std::get_if<RoutesChanged>(&event)) {
    wanted_.routes = routes->routes;
    for (const IpPrefix& refused : routes->refused) {
      log_warn("route.refused", {{"route", refused.to_string()},
                                 {"why", "[routes] of the profile does not accept it"}});
    }
    apply_interface();
  } else if (const auto* mtu = std::get_if<MtuChanged>(&event)) {
    // Below 1280 the kernel would take IPv6 off the interface; Packet Too Big serves the gap.
    wanted_.mtu = std::max<uint32_t>(static_cast<uint32_t>(mtu->mtu), kIpv6MinimumMtu);
    apply_interface();
  } else if (const auto* dropped = std::get_if<Ipv6Dropped>(&event)) {
    const std::string why =
        dropped->mtu < kIpv6MinimumMtu
            ? std::format("the path carries {} bytes, IPv6 needs {}", dropped->mtu, kIpv6MinimumMtu)
            : std::format("pings of {} bytes are not answered, small ones are", kIpv6MinimumMtu);
    log_warn("client.ipv6_dropped",
             {{"why", why},
              {"retry_after_s",
               std::chrono::duration_cast<std::chrono::seconds>(dropped->retry_after).count()}});
  } else if (std::holds_alternative<Ipv6Unproven>(event)) {
    log_warn(
        "client.ipv6_unproven",
        {{"why", std::format("the gateway answers no IPv6 pings: whether the tunnel carries {} "
                             "bytes is not known",
                             kIpv6MinimumMtu)}});
  }
}

void ClientService::on_state(const ClientStateChanged& change) {
  switch (change.state) {
    case ClientState::Idle:
      return;
    case ClientState::Connected:
      was_connected_ = true;
      state_ = ServiceState::Connected;
      last_error_.clear();
      log_info("client.connected", {{"interface", tun_->name()}, {"mtu", client_->mtu()}});
      if (config_.verify == ClientConfig::Verify::Nothing) {
        log_warn("tls.unverified",
                 {{"why", "insecure_skip_verify: this may be anybody who poses as the gateway"}});
      }
      notifier_.ready("connected to " + config_.server_host);
      return;
    case ClientState::Connecting:
    case ClientState::Reconnecting:
    case ClientState::Failed:
      break;
  }
  if (state_ == ServiceState::Draining) return;
  state_ = was_connected_ ? ServiceState::Reconnecting : ServiceState::Connecting;
  if (change.reason.empty()) return;
  const auto& closed = worker_->last_close();
  last_error_ = with_remedy(change.reason, remedy_of(change, closed, config_));
  log_warn("client.not_connected", {{"why", last_error_}, {"status", change.status}});
  notifier_.status("not connected: " + last_error_);
  if (change.status == 401 || change.status == 403) return give_up(kExitRefused, last_error_);
  if (was_connected_) return;
  if (is_passing(change.status)) return give_up(kExitLater, last_error_);
  if (change.status >= 300) return give_up(kExitRefused, last_error_);
  if (const int code = closed ? hopeless(*closed) : 0; code != 0) give_up(code, last_error_);
}

void ClientService::apply_interface() {
  wanted_.outer.clear();
  for (const SocketAddress& address : worker_->outer_addresses())
    wanted_.outer.push_back(address.address);
  const auto report = interface_->apply(wanted_);
  if (!report) {
    log_error("interface.failed", {{"error", report.error().message()}});
    return;
  }
  for (const IpPrefix& conflict : report->conflicts) {
    log_warn("route.conflict",
             {{"route", conflict.to_string()}, {"why", "another interface has it already"}});
  }
  if (report->ipv6_unavailable) log_warn("interface.no_ipv6", {{"interface", tun_->name()}});
}

// ---- control ----------------------------------------------------------------------------------

std::string ClientService::answer(std::string_view line) {
  const auto request = parse_control_request(line);
  if (!request) return control_error(request.error());
  if (std::holds_alternative<StatusRequest>(*request)) return control_ok(status());
  if (std::holds_alternative<ReloadRequest>(*request)) {
    const auto done = reload();
    return done ? control_ok() : control_error(done.error().text, done.error().exit_code);
  }
  return control_error("this is a client: it has no sessions or users of its own");
}

ServiceStatus ClientService::status() {
  const Instant now = monotonic_now();
  ServiceStatus out{.role = ServiceRole::Client,
                    .state = state_,
                    .version = program_version(),
                    .config_file = config_.file,
                    .pid = static_cast<uint32_t>(::getpid()),
                    .uptime = now - started_,
                    .interface = tun_ ? tun_->name() : "",
                    .last_error = last_error_,
                    .resilience_mode = std::string(to_string(config_.resilience.path.mode))};
  if (!client_) return out;
  out.reconnects = client_->reconnects();
  const SessionFigures figures = client_->figures();
  out.session =
      SessionStatus{.addresses = client_->addresses(),
                    .routes = client_->routes(),
                    .site_routes = config_.site_routes,
                    .mtu = static_cast<uint32_t>(client_->mtu()),
                    .ipv6_probe = std::string(to_string(figures.ipv6_probe)),
                    .connected_for = client_->connected_since() ? now - *client_->connected_since()
                                                                : Duration::zero(),
                    .path = path_of(worker_ ? worker_->connection() : nullptr, figures, now),
                    .classes = classes_of(figures),
                    .counters = traffic_of(client_->counters())};
  return out;
}

}  // namespace masque
