// SPDX-License-Identifier: Apache-2.0
// What a running server takes over when it reads its configuration again: who may do what,
// certificates, NAT, forwarding, the interface's MTU, the log's level. Every other key that is new
// waits for a restart, and is named in a warning.
#include <string_view>

#include "base/log.h"
#include "host/privileges.h"
#include "service/exit_code.h"
#include "service/policy_builder.h"
#include "service/server_service.h"
#include "service/startup.h"

namespace masque {

namespace {

// The largest packet over an Ethernet path: what 1472 bytes of UDP payload carry.
constexpr uint32_t kServerMtu = 1438;

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

// What can fail comes before what is taken over: a refused reload leaves all as it was.
std::expected<void, StartError> ServerService::reload() {
  auto loaded = load_server_config(config_.file);
  for (const ConfigError& error : loaded.errors)
    log_error("reload.refused", {{"error", error.message()}});
  if (!loaded.config) return start_failed(kExitConfiguration, loaded.errors.front().message());
  const auto refused = [](StartError error) -> std::expected<void, StartError> {
    log_error("reload.refused", {{"error", error.text}});
    return std::unexpected(std::move(error));
  };
  ServerConfig next = with_reloaded(config_, std::move(*loaded.config));
  auto tls = make_tls(next);
  if (!tls) return refused(std::move(tls).error());
  auto users = UserDirectory::read(*store_);
  if (!users) return refused(start_failed(users.error()).error());
  if (const auto applied = apply_host(next); !applied) {
    if (const auto undone = apply_host(config_); !undone)
      log_error("reload.not_undone", {{"error", explain(undone.error())}});
    return refused(start_failed(applied.error()).error());
  }
  warn_of_restart(config_.values, next.values, kAppliedByReload);
  next.values = std::move(config_.values);
  config_ = std::move(next);
  users_ = std::move(*users);
  set_log_level(config_.log.level);
  former_tls_.push_back(std::exchange(tls_, std::move(*tls)));
  worker_->set_tls(*tls_);
  apply_policy();
  log_info("server.reloaded", {{"file", config_.file}});
  return {};
}

uint32_t ServerService::interface_mtu(const ServerConfig& config) {
  return config.mtu != kMtuAutomatic ? config.mtu : kServerMtu;
}

std::string ServerService::forwarding_note(const ServerConfig& config) {
  return config.control_socket + ".forwarding";
}

// What the kernel has of the configuration and a reload can change.
Result<void, SysError> ServerService::apply_host(const ServerConfig& config) {
  wanted_.mtu = interface_mtu(config);
  TRY_VOID(apply_interface());
  TRY_VOID(apply_forwarding(config));
  return apply_nat(config);
}

Result<void, SysError> ServerService::apply_forwarding(const ServerConfig& config) {
  if (config.ip_forwarding == ServerConfig::IpForwarding::Leave) forwarding_.reset();
  if (config.ip_forwarding == ServerConfig::IpForwarding::Leave || forwarding_) return {};
  TRY(IpForwarding forwarding,
      IpForwarding::enable({IpVersion::V4, IpVersion::V6}, forwarding_note(config)));
  forwarding_.emplace(std::move(forwarding));
  return {};
}

Result<void, SysError> ServerService::apply_nat(const ServerConfig& config) {
  if (!config.nat.enabled) {
    nat_.reset();
    return {};
  }
  const NatOptions options{.tun_name = tun_->name(),
                           .sources = config.pools,
                           .interfaces = config.nat.interfaces,
                           .clamp_mss = NatOptions::ClampMss::ToRouteMtu};
  if (nat_) return nat_->replace(options);
  TRY(Nat nat, Nat::create(options));
  nat_.emplace(std::move(nat));
  return {};
}

}  // namespace masque
