// SPDX-License-Identifier: Apache-2.0
// The nemesis: each seed switches its own set of fault classes on and draws when they strike, while
// four clients talk. Nobody knows beforehand what must get through; the invariants of the ledger,
// the network and the world must hold at every event, and when all is healed every client must have
// service.
#include <algorithm>

#include "tests/scenarios/scenario.h"

namespace masque {
namespace {

enum class Fault : uint8_t {
  Loss,
  Burst,
  Duplicate,
  Reorder,
  Corrupt,
  Rate,
  Mtu,
  Blackhole,
  OneWay,
  RebindPort,
  RebindAddress,
  RestartServer,
  RestartClient,
  ChangeAddress,
  KeyUpdate,
  Kick,
};
constexpr size_t kFaults = static_cast<size_t>(Fault::Kick) + 1;

class Nemesis {
 public:
  Nemesis(Lab& lab, std::vector<SimClient*> clients) : lab_(lab), clients_(std::move(clients)) {
    while (classes_.size() < 2) {
      classes_.clear();
      for (size_t i = 0; i < kFaults; ++i) {
        if (lab_.below(3) == 0) classes_.push_back(static_cast<Fault>(i));
      }
    }
  }

  void strike() {
    SimClient& victim = *clients_[lab_.below(clients_.size())];
    const Fault fault = classes_[lab_.below(classes_.size())];
    lab_.world.trace(TraceKind::Note, static_cast<uint64_t>(fault), victim.id());
    LinkOptions link{.delay = milliseconds(1 + lab_.below(120))};
    if (bend(fault, link)) {
      lab_.network.set_links(victim.id(), link, lab_.below(2) == 0 ? link : LinkOptions{});
    } else {
      act(fault, victim);
    }
  }

  void heal() {
    for (SimClient* client : clients_) lab_.network.set_links(client->id(), {});
  }

 private:
  static Duration milliseconds(uint64_t count) {
    return Duration(1ms) * static_cast<int64_t>(count);
  }
  // Faults of a link; false for the others.
  bool bend(Fault fault, LinkOptions& link) {
    switch (fault) {
      case Fault::Loss:
        link.loss_ppm = static_cast<uint32_t>(lab_.below(300'000));
        return true;
      case Fault::Burst:
        link.burst_enter_ppm = static_cast<uint32_t>(lab_.below(60'000));
        link.burst_leave_ppm = 100'000 + static_cast<uint32_t>(lab_.below(500'000));
        return true;
      case Fault::Duplicate:
        link.duplicate_ppm = static_cast<uint32_t>(lab_.below(500'000));
        return true;
      case Fault::Reorder:
        link.jitter = milliseconds(lab_.below(200));
        link.order = LinkOptions::Order::Free;
        return true;
      case Fault::Corrupt:
        link.corrupt_ppm = static_cast<uint32_t>(lab_.below(300'000));
        return true;
      case Fault::Rate:
        link.rate_bits_per_second = 200'000 + lab_.below(20'000'000);
        link.queue_bytes_max = 10'000 + lab_.below(200'000);
        return true;
      case Fault::Mtu:
        link.mtu = 1280 + lab_.below(221);
        return true;
      case Fault::Blackhole:
        link.path = LinkOptions::Path::Blackhole;
        return true;
      default:
        return false;
    }
  }

  void act(Fault fault, SimClient& victim) {
    switch (fault) {
      case Fault::OneWay: {
        const LinkOptions dead{.path = LinkOptions::Path::Blackhole};
        const bool up = lab_.below(2) == 0;
        lab_.network.set_links(victim.id(), up ? dead : LinkOptions{}, up ? LinkOptions{} : dead);
        return;
      }
      case Fault::RebindPort:
        lab_.network.rebind_port(victim.id());
        return;
      case Fault::RebindAddress:
        lab_.network.rebind_address(victim.id(), IpAddress::v4(0xc6140000 + next_public_++));
        return;
      case Fault::RestartServer:
        restart_server();
        return;
      case Fault::RestartClient:
        if (!victim.running()) return;
        victim.kill_process();
        lab_.world.after(milliseconds(lab_.below(3000)), [&victim] { victim.start_again(); });
        return;
      case Fault::ChangeAddress:
        change_address();
        return;
      case Fault::KeyUpdate:
        if (victim.connection() != nullptr)
          victim.connection()->quic().initiate_key_update(lab_.world.now());
        victim.schedule_turn();
        return;
      default: {
        const size_t index = lab_.below(clients_.size());
        if (!lab_.server().running()) return;
        lab_.server().control(
            [index](Gateway& gateway) { gateway.kick("client" + std::to_string(index)); });
        return;
      }
    }
  }

  void restart_server() {
    if (!lab_.server().running()) return;
    lab_.kill_server();
    const auto secret = lab_.below(2) == 0 ? SimServer::Secret::Kept : SimServer::Secret::New;
    lab_.world.after(milliseconds(lab_.below(5000)),
                     [this, secret] { lab_.server().start(secret); });
  }
  void change_address() {
    if (!lab_.server().running()) return;
    const auto to = IpPrefix::host(IpAddress::v4(0x0a080064 + next_inner_++ % 100));
    const std::string who = "client" + std::to_string(lab_.below(clients_.size()));
    lab_.server().control([to, who](Gateway& gateway) {
      // Refused when the address is taken or nobody is there: fine.
      static_cast<void>(
          gateway.set_session(who, {.addresses = std::vector{to}, .routes = std::nullopt}));
    });
  }

  Lab& lab_;
  std::vector<SimClient*> clients_;
  std::vector<Fault> classes_;
  uint32_t next_public_ = 1;
  uint32_t next_inner_ = 0;
};

void swarm(Lab& lab, RetryPolicy retry, ResilienceMode mode = ResilienceMode::Off) {
  const ClientPolicy open{.reach_clients = Permission::Allow};
  PolicySnapshot policy;
  policy.unknown_clients = open;
  ServerSetup server{.retry = retry, .policy = std::move(policy)};
  server.gateway.resilience.mode = mode;
  lab.add_server(std::move(server));
  std::vector<SimClient*> clients;
  for (int i = 0; i < 4; ++i) {
    ClientSetup setup{.hello_size = i % 2 == 0 ? size_t{300} : size_t{1900}};
    setup.tunnel.resilience.mode = mode;
    clients.push_back(&lab.add_client("client" + std::to_string(i), std::move(setup)));
    lab.network.add_nat(clients.back()->id(), IpAddress::v4(0xc6130001 + static_cast<uint32_t>(i)));
    clients.back()->start();
  }
  lab.run(3s);
  for (size_t i = 0; i < clients.size(); ++i) {
    const IpVersion version = i % 2 == 0 ? IpVersion::V4 : IpVersion::V6;
    lab.ping(clients[i]->inner(), lab.internet(),
             {.interval = 150ms, .packet_size = 300, .version = version});
    lab.stream(lab.internet(), clients[i]->inner(), {.interval = 80ms, .packet_size = 1100});
    lab.stream(clients[i]->inner(), clients[(i + 1) % clients.size()]->inner(),
               {.interval = 200ms});
  }
  Nemesis nemesis(lab, clients);
  for (int i = 0; i < 25; ++i) {
    lab.run(Duration(static_cast<int64_t>(lab.below(3'000'000'000))));
    nemesis.strike();
  }
  lab.run(6s);
  nemesis.heal();
  // The back-off, a dial that began in a hole, or the idle timeout of a lost connection come first.
  const auto served = [&] {
    return std::ranges::all_of(clients, [](SimClient* client) { return client->connected(); });
  };
  EXPECT_TRUE(lab.until(served, 90s)) << "somebody has not come back";
  for (SimClient* client : clients)
    EXPECT_TRUE(lab.ping_works(*client, 60s)) << lab.describe(*client);
  lab.finish();
}

SCENARIO(swarm_of_faults, 20,
         "Random faults on four clients and the gateway; every invariant, then service for all") {
  swarm(lab, RetryPolicy::Auto);
}

SCENARIO(swarm_of_faults_with_retry, 8, "The same with Retry for everybody") {
  swarm(lab, RetryPolicy::Always);
}

SCENARIO(swarm_of_faults_resilient, 20, "The same with the path layer") {
  swarm(lab, RetryPolicy::Auto, ResilienceMode::Auto);
}

SCENARIO_WITH(swarm_of_faults_openssl, Crypto::Real, 2, "The same over OpenSSL") {
  swarm(lab, RetryPolicy::Auto);
}

}  // namespace
}  // namespace masque
