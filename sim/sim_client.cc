// SPDX-License-Identifier: Apache-2.0
#include "sim/sim_client.h"

#include <algorithm>
#include <format>

namespace masque {

namespace {

constexpr size_t kTunQueueMax = 500;

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};

}  // namespace

SimClient::SimClient(World& world, Network& network, PacketLedger& ledger, Options options,
                     std::unique_ptr<TlsContext> tls)
    : ClientNode(world, network, options.node, std::move(tls)),
      options_(std::move(options)),
      kernel_(world, ledger, options_.name) {
  make_tunnel();
  add_inner(kernel_);
}

SimClient::~SimClient() { kill_process(); }

void SimClient::make_tunnel() {
  auto tunnel = TunnelClient::create(options_.tunnel, world().rng());
  MASQUE_ASSERT(tunnel.has_value());
  tunnel_ = std::move(*tunnel);
}

void SimClient::add_inner(InnerNode& node) {
  inner_.push_back(&node);
  node.set_output([this](Bytes packet) {
    if (!tunnel_ || tun_.size() >= kTunQueueMax) return;
    tun_.emplace_back(packet.begin(), packet.end());
    schedule_turn();
  });
}

void SimClient::start() {
  control([](TunnelClient& tunnel) { tunnel.start(); });
}

void SimClient::stop() {
  control([](TunnelClient& tunnel) { tunnel.stop(); });
}

void SimClient::kill_process() {
  kill();
  tunnel_.reset();
  tun_.clear();
  out_.clear();
  controls_.clear();
  kernel_.set_addresses({});
}

void SimClient::start_again() {
  make_tunnel();
  start();
}

void SimClient::control(std::function<void(TunnelClient&)> action) {
  controls_.push_back(std::move(action));
  schedule_turn();
}

void SimClient::on_connection_ended(const CloseReason& reason) {
  // It belongs between begin_turn and flush: the next turn.
  control([text = reason.text](TunnelClient& tunnel) { tunnel.on_connection_lost(text); });
}

// ---- a turn -----------------------------------------------------------------------------------

void SimClient::begin_application(Instant now) {
  if (tunnel_) tunnel_->begin_turn(now, target(), *this);
}

std::optional<Instant> SimClient::application_timeout() const {
  return tunnel_ ? tunnel_->next_timeout() : std::nullopt;
}

void SimClient::fire_application_timers(Instant now) { tunnel_->on_timeout(now); }

void SimClient::take_application_input(Instant) {
  if (!tunnel_) return;
  for (const auto& action : std::exchange(controls_, {})) action(*tunnel_);
  while (!tun_.empty() && tunnel_->wants_more()) {
    tunnel_->on_tun_packet({.head = tun_.front(), .body = {}});
    tun_.pop_front();
  }
  tunnel_->flush();
}

void SimClient::finish_application(Instant) {
  if (!tunnel_) return;
  while (const auto event = tunnel_->poll_event()) on_event(*event);
  while (!out_.empty()) {
    const std::vector<uint8_t> packet = std::move(out_.front());
    out_.pop_front();
    const auto view = parse_ip_packet(packet);
    if (!view) {
      world().violation(
          std::format("I-1: the TUN of {} got something that is not an IP packet", options_.name));
      continue;
    }
    const auto node =
        std::ranges::find_if(inner_, [&](const InnerNode* n) { return n->has(view->destination); });
    if (node == inner_.end()) {
      // An error about a packet with a false source goes back to that source: the kernel drops it.
      const bool icmp = view->protocol == ip_protocol::icmp_of(view->version);
      if (icmp && !parse_icmp_echo(*view, packet)) continue;
      world().violation(std::format("I-4: a packet for {} came out of the TUN of {}",
                                    view->destination.to_string(), options_.name));
      continue;
    }
    (*node)->deliver(packet);
  }
}

void SimClient::deliver(Bytes ip_packet) { out_.emplace_back(ip_packet.begin(), ip_packet.end()); }

void SimClient::on_event(const ClientEvent& event) {
  world().trace(TraceKind::State, id(), event.index());
  std::visit(Overloaded{[&](const Dial&) {
                          if (!dial()) {
                            control([](TunnelClient& tunnel) {
                              tunnel.on_connection_lost("no connection");
                            });
                            return;
                          }
                          control([this](TunnelClient& tunnel) {
                            if (connection() != nullptr) tunnel.on_dialed(*connection());
                          });
                        },
                        [&](const HangUp&) {
                          if (connection() != nullptr)
                            connection()->close(world().now(), HttpError::NoError, "");
                        },
                        [&](const ClientStateChanged& change) {
                          states_.push_back({.at = world().now(),
                                             .state = change.state,
                                             .reason = change.reason,
                                             .status = change.status});
                        },
                        [&](const AddressesChanged& change) {
                          ++address_changes_;
                          kernel_.set_addresses(change.addresses);
                        },
                        [&](const RoutesChanged& change) {
                          ++route_changes_;
                          routes_ = change.routes;
                          refused_routes_ = change.refused;
                        },
                        [&](const MtuChanged&) {}, [&](const Ipv6Dropped&) { ++ipv6_drops_; },
                        [](const Ipv6Unproven&) {}},
             event);
}

}  // namespace masque
