// SPDX-License-Identifier: Apache-2.0
#include "sim/sim_server.h"

#include <algorithm>
#include <format>

namespace masque {

namespace {

constexpr size_t kTunQueueMax = 500;  // packets, as Linux has it
constexpr Duration kResolveTime = 20ms;

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};

}  // namespace

SimServer::SimServer(World& world, Network& network, PacketLedger& ledger, Options options,
                     std::unique_ptr<TlsContext> tls)
    : ServerNode(world, network, options.node, std::move(tls)),
      options_(std::move(options)),
      kernel_(world, ledger, "gateway") {
  make_gateway();
  add_inner(kernel_);
}

SimServer::~SimServer() { kill(); }

void SimServer::make_gateway() {
  gateway_ = std::make_unique<Gateway>(options_.gateway, world().rng(),
                                       std::make_unique<const PolicySnapshot>(options_.policy));
  for (const auto& [identity, addresses] : leases_) gateway_->load_lease(identity, addresses);
  std::vector<IpPrefix> own;
  for (const IpAddress& address : gateway_->own_addresses()) own.push_back(IpPrefix::host(address));
  kernel_.set_addresses(own);
}

void SimServer::add_inner(InnerNode& node) {
  inner_.push_back(&node);
  node.set_output([this](Bytes packet) {
    if (tun_.size() >= kTunQueueMax || !gateway_) {
      ++tun_drops_;
      return;
    }
    tun_.emplace_back(packet.begin(), packet.end());
    schedule_turn();
  });
}

void SimServer::kill() {
  stop_endpoint();
  gateway_.reset();
  tun_.clear();
  out_.clear();
  controls_.clear();
}

void SimServer::start(Secret secret) {
  kernel_routes_.clear();
  shut_down_ = false;
  make_gateway();
  start_endpoint(secret == Secret::Kept ? StaticSecret::Keep : StaticSecret::New);
  schedule_turn();
}

void SimServer::control(std::function<void(Gateway&)> action) {
  controls_.push_back(std::move(action));
  schedule_turn();
}

void SimServer::set_policy(PolicySnapshot policy) {
  options_.policy = std::move(policy);
  control([this](Gateway& gateway) {
    gateway.set_policy(std::make_unique<const PolicySnapshot>(options_.policy));
  });
}

// ---- a turn -----------------------------------------------------------------------------------

void SimServer::begin_application(Instant now) {
  if (gateway_) gateway_->begin_turn(now, target(), *this);
}

std::optional<Instant> SimServer::application_timeout() const {
  return gateway_ ? gateway_->next_timeout() : std::nullopt;
}

void SimServer::fire_application_timers(Instant now) { gateway_->on_timeout(now); }

void SimServer::take_application_input(Instant) {
  if (!gateway_) return;
  for (const auto& action : std::exchange(controls_, {})) action(*gateway_);
  while (!tun_.empty() && gateway_->wants_more()) {
    gateway_->on_tun_packet({.head = tun_.front(), .body = {}});
    tun_.pop_front();
  }
  gateway_->flush();
}

void SimServer::finish_application(Instant) {
  if (!gateway_) return;
  while (const auto event = gateway_->poll_event()) on_event(*event);
  // Out of the TUN only now: the hosts behind answer at once, and that is input for another turn.
  while (!out_.empty()) {
    const std::vector<uint8_t> packet = std::move(out_.front());
    out_.pop_front();
    const auto view = parse_ip_packet(packet);
    if (!view) {
      world().violation("I-1: the gateway's TUN got something that is not an IP packet");
      continue;
    }
    const auto node =
        std::ranges::find_if(inner_, [&](const InnerNode* n) { return n->has(view->destination); });
    if (node == inner_.end()) {
      world().violation(std::format("I-4: a packet for {} came out of the gateway's TUN",
                                    view->destination.to_string()));
      continue;
    }
    (*node)->deliver(packet);
  }
}

void SimServer::deliver(Bytes ip_packet) { out_.emplace_back(ip_packet.begin(), ip_packet.end()); }

void SimServer::on_event(const GatewayEvent& event) {
  world().trace(TraceKind::State, id(), event.index());
  std::visit(
      Overloaded{
          [&](const SessionUp& up) {
            ups_.push_back(up);
            check_leases();
          },
          [&](const SessionDown& down) { downs_.push_back(down); }, [](const SessionUnproven&) {},
          [&](const LeaseChanged& lease) {
            if (lease.addresses.empty()) {
              leases_.erase(lease.identity);
            } else {
              leases_[lease.identity] = lease.addresses;
            }
          },
          [&](const KernelRoutesChanged& change) {
            for (const IpPrefix& gone : change.removed) std::erase(kernel_routes_, gone);
            kernel_routes_.insert(kernel_routes_.end(), change.added.begin(), change.added.end());
          },
          [&](const ResolveName& question) {
            const auto found = options_.names.find(question.name);
            auto answer = found == options_.names.end() ? std::vector<IpAddress>{} : found->second;
            world().after(kResolveTime, [this, ticket = question.ticket,
                                         answer = std::move(answer)] {
              control([ticket, answer](Gateway& gateway) { gateway.on_resolved(ticket, answer); });
            });
          },
          [&](const RequestRefused& refused) { refused_.push_back(refused); },
          [&](const ShutDown&) { shut_down_ = true; }},
      event);
}

// I-5: no address belongs to two live sessions.
void SimServer::check_leases() {
  const std::vector<SessionSnapshot> sessions = gateway_->sessions();
  for (size_t i = 0; i < sessions.size(); ++i) {
    for (size_t k = i + 1; k < sessions.size(); ++k) {
      for (const IpPrefix& a : sessions[i].addresses) {
        for (const IpPrefix& b : sessions[k].addresses) {
          if (!a.overlaps(b)) continue;
          world().violation(std::format("I-5: {} of {} and {} of {}", a.to_string(),
                                        sessions[i].identity, b.to_string(), sessions[k].identity));
        }
      }
    }
  }
}

}  // namespace masque
