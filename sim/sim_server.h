// SPDX-License-Identifier: Apache-2.0
// The gateway's program in the world: QuicServerEndpoint + Gateway, a TUN, and the hosts behind it.
// It can be killed and started again, with the leases that it had told to the database, and with
// the same or a new static secret.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "core/server/gateway.h"
#include "sim/inner.h"
#include "sim/node.h"

namespace masque {

class SimServer final : public ServerNode, private PacketSink {
 public:
  struct Options {
    ServerNode::Options node;
    GatewayConfig gateway;
    PolicySnapshot policy;
    std::map<std::string, std::vector<IpAddress>> names;  // for ResolveName
  };

  SimServer(World& world, Network& network, PacketLedger& ledger, Options options,
            std::unique_ptr<TlsContext> tls);
  ~SimServer() override;

  // A host behind the gateway: packets to its addresses go there, its own into the TUN.
  void add_inner(InnerNode& node);
  InnerNode& kernel() { return kernel_; }  // the gateway's own inner addresses

  // Runs inside the next turn, where control of the gateway belongs.
  void control(std::function<void(Gateway&)> action);
  void set_policy(PolicySnapshot policy);
  const PolicySnapshot& policy() const { return options_.policy; }

  enum class Secret : uint8_t { Kept, New };
  void kill();
  void start(Secret secret);

  // Null while it is killed.
  Gateway* gateway() { return gateway_.get(); }
  bool is_shut_down() const { return shut_down_; }  // Gateway::shut_down() is done
  const std::vector<SessionUp>& sessions_up() const { return ups_; }
  const std::vector<SessionDown>& sessions_down() const { return downs_; }
  const std::vector<RequestRefused>& refused() const { return refused_; }
  const std::map<std::string, std::vector<IpPrefix>>& leases() const { return leases_; }
  const std::vector<IpPrefix>& kernel_routes() const { return kernel_routes_; }
  // The most that waited for one session at the end of a turn: what C15 bounds.
  uint64_t tun_drops() const { return tun_drops_; }

 private:
  RequestHandler& handler() override { return *gateway_; }
  void begin_application(Instant now) override;
  void fire_application_timers(Instant now) override;
  void take_application_input(Instant now) override;
  void finish_application(Instant now) override;
  std::optional<Instant> application_timeout() const override;
  void deliver(Bytes ip_packet) override;
  void on_event(const GatewayEvent& event);
  void check_leases();
  void make_gateway();

  Options options_;
  std::unique_ptr<Gateway> gateway_;
  InnerNode kernel_;
  std::vector<InnerNode*> inner_;
  std::deque<std::vector<uint8_t>> tun_;  // from the hosts behind, as the TUN's queue holds it
  std::deque<std::vector<uint8_t>> out_;  // to them
  std::vector<std::function<void(Gateway&)>> controls_;
  std::vector<SessionUp> ups_;
  std::vector<SessionDown> downs_;
  std::vector<RequestRefused> refused_;
  std::map<std::string, std::vector<IpPrefix>> leases_;
  std::vector<IpPrefix> kernel_routes_;
  uint64_t tun_drops_ = 0;
  bool shut_down_ = false;
};

}  // namespace masque
