// SPDX-License-Identifier: Apache-2.0
// The client's program in the world: TunnelClient over an Http3Connection, a TUN, and its kernel as
// an InnerNode whose addresses follow what the gateway assigns. It can be killed and started again.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "core/client/tunnel_client.h"
#include "sim/inner.h"
#include "sim/node.h"

namespace masque {

class SimClient final : public ClientNode, private PacketSink {
 public:
  struct Options {
    std::string name = "client";
    ClientNode::Options node;
    TunnelClientConfig tunnel;
  };
  struct StateRecord {
    Instant at;
    ClientState state;
    std::string reason;
    unsigned status;
  };

  SimClient(World& world, Network& network, PacketLedger& ledger, Options options,
            std::unique_ptr<TlsContext> tls);
  ~SimClient() override;

  void start();
  void stop();
  // Killed without a word; start_again() is a new process with the same configuration.
  void kill_process();
  void start_again();
  void control(std::function<void(TunnelClient&)> action);
  // A host of the branch network behind this client.
  void add_inner(InnerNode& node);

  bool running() const { return tunnel_ != nullptr; }
  TunnelClient& tunnel() { return *tunnel_; }
  bool connected() const { return tunnel_ && tunnel_->state() == ClientState::Connected; }
  ClientState state() const { return tunnel_ ? tunnel_->state() : ClientState::Idle; }
  InnerNode& inner() { return kernel_; }
  std::optional<IpAddress> inner_address(IpVersion version) const {
    return kernel_.address(version);
  }
  const std::vector<StateRecord>& states() const { return states_; }
  const std::vector<IpPrefix>& routes() const { return routes_; }
  const std::vector<IpPrefix>& refused_routes() const { return refused_routes_; }
  uint64_t ipv6_drops() const { return ipv6_drops_; }
  uint64_t address_changes() const { return address_changes_; }
  uint64_t route_changes() const { return route_changes_; }

 private:
  RequestHandler& handler() override { return *tunnel_; }
  void on_connection_ended(const CloseReason& reason) override;
  void begin_application(Instant now) override;
  void fire_application_timers(Instant now) override;
  void take_application_input(Instant now) override;
  void finish_application(Instant now) override;
  std::optional<Instant> application_timeout() const override;
  void deliver(Bytes ip_packet) override;
  void on_event(const ClientEvent& event);
  void make_tunnel();

  Options options_;
  std::unique_ptr<TunnelClient> tunnel_;
  InnerNode kernel_;
  std::vector<InnerNode*> inner_;
  std::deque<std::vector<uint8_t>> tun_;
  std::deque<std::vector<uint8_t>> out_;
  std::vector<std::function<void(TunnelClient&)>> controls_;
  std::vector<StateRecord> states_;
  std::vector<IpPrefix> routes_;
  std::vector<IpPrefix> refused_routes_;
  uint64_t ipv6_drops_ = 0;
  uint64_t address_changes_ = 0;
  uint64_t route_changes_ = 0;
};

}  // namespace masque
