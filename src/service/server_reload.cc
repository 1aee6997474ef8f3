// SPDX-License-Identifier: Apache-2.0
// What a running server takes over when it reads its configuration again: who may do what,
// certificates, NAT, forwarding, the interface's MTU, the log's level. Every other key that is new
// waits for a restart, and is named in a warning.
#include <string_view>

#include "base/log.h"
#include "host/privileges.h"
#include "service/exit_code.h"
#include "service/server_service.h"
#include "service/startup.h"

namespace masque {

namespace {

// What with_reloaded() takes over, and keys that a running server does not use.
constexpr std::string_view kAppliedByReload[] = {
    "advertise_routes",
    "api_server.listen_addr",
    "api_server.static_dir",
    "auth.unknown_users",
    "ca_cert_file",
    "ca_cert_pem",
    "ca_key_file",
    "ca_key_pem",
    "cert_file",
    "cert_pem",
    "key_file",
    "key_pem",
    "log_level",
    "mtu",
    "nat.enabled",
    "nat.interfaces",
    "network.ip_forwarding",
};

// The running configuration with what can be applied to it of the next one, and its values.
ServerConfig with_reloaded(ServerConfig running, ServerConfig next) {
  const bool pools_are_routes = !next.values.contains("advertise_routes");
  running.routes = pools_are_routes ? running.pools : std::move(next.routes);
  running.unknown_users = next.unknown_users;
  running.certificate = std::move(next.certificate);
  running.key = std::move(next.key);
  running.ca_certificate = std::move(next.ca_certificate);
  running.log.level = next.log.level;
  running.mtu = next.mtu;
  running.nat = std::move(next.nat);
  running.ip_forwarding = next.ip_forwarding;
  running.values = std::move(next.values);
  return running;
}

}  // namespace

std::expected<void, StartError> ServerService::reload() {
  auto loaded = load_server_config(config_.file);
  for (const ConfigError& error : loaded.errors)
    log_error("reload.refused", {{"error", error.message()}});
  if (!loaded.config) return start_failed(kExitConfiguration, loaded.errors.front().message());
  ServerConfig next = with_reloaded(config_, std::move(*loaded.config));
  auto tls = make_tls(next);
  if (!tls) {
    log_error("reload.refused", {{"error", tls.error().text}});
    return std::unexpected(tls.error());
  }
  warn_of_restart(config_.values, next.values, kAppliedByReload);
  next.values = std::move(config_.values);
  config_ = std::move(next);
  set_log_level(config_.log.level);
  former_tls_.push_back(std::exchange(tls_, std::move(*tls)));
  worker_->set_tls(*tls_);
  if (const auto read = read_users(); !read) return start_failed(read.error());
  apply_policy();
  wanted_.mtu = interface_mtu();
  for (const auto& applied : {apply_interface(), apply_forwarding(), apply_nat()}) {
    if (applied) continue;
    log_error("reload.refused", {{"error", explain(applied.error())}});
    return start_failed(applied.error());
  }
  log_info("server.reloaded", {{"file", config_.file}});
  return {};
}

Result<void, SysError> ServerService::apply_forwarding() {
  if (config_.ip_forwarding == ServerConfig::IpForwarding::Leave) forwarding_.reset();
  if (config_.ip_forwarding == ServerConfig::IpForwarding::Leave || forwarding_) return {};
  TRY(IpForwarding forwarding,
      IpForwarding::enable({IpVersion::V4, IpVersion::V6}, config_.control_socket + ".forwarding"));
  forwarding_.emplace(std::move(forwarding));
  return {};
}

Result<void, SysError> ServerService::apply_nat() {
  if (!config_.nat.enabled) {
    nat_.reset();
    return {};
  }
  const NatOptions options{.tun_name = tun_->name(),
                           .sources = config_.pools,
                           .interfaces = config_.nat.interfaces,
                           .clamp_mss = NatOptions::ClampMss::ToRouteMtu};
  if (nat_) return nat_->replace(options);
  TRY(Nat nat, Nat::create(options));
  nat_.emplace(std::move(nat));
  return {};
}

}  // namespace masque
