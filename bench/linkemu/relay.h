// SPDX-License-Identifier: Apache-2.0
// Relays UDP without any rights: what comes to the listening address goes to the target through a
// socket of its own for each client, and back. The target sees a client as one address and port, as
// behind a NAT. ECN bits travel along, both ways.
//
// Clients are bounded: beyond flows_max a new one takes the place of one that was silent for
// kIdleMin, or is refused.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "core/ip/socket_address.h"
#include "host/unique_fd.h"
#include "linkemu/packet_io.h"
#include "linkemu/receive_batch.h"
#include "sim/link_plan.h"

namespace masque::linkemu {

class Relay final : public PacketIo {
 public:
  static constexpr Duration kIdleMin = 30s;

  struct Options {
    SocketAddress listen;
    SocketAddress target;
    size_t flows_max = 0;
  };

  // What a slot must hold: the largest datagram that an MTU of these plans allows.
  static size_t datagram_size_max(const std::array<LinkPlan, 2>& plans);
  static Result<std::unique_ptr<Relay>, SysError> create(const Options& options, PacketPool& pool);
  ~Relay() override;

  Result<void, SysError> watch(int epoll) override;
  More receive(uint64_t tag, PacketSink& sink) override;
  void send(Direction direction, std::span<const Slot> slots) override;
  MutableBytes payload(Slot slot) override { return pool_.packet(slot); }
  const Counters& counters() override { return counters_; }

 private:
  struct Flow {
    UniqueFd fd;
    SocketAddress client;
    Instant used_at;
    uint32_t generation = 0;
  };
  struct Outgoing;

  Relay(UniqueFd listening, const SocketAddress& target, size_t flows_max, PacketPool& pool);
  Flow* flow_of(const SocketAddress& client, Instant now);
  Flow* open_flow(const SocketAddress& client, Instant now);
  Flow* free_flow(Instant now);  // closed, to be used anew; nullptr: all are in use
  Result<UniqueFd, SysError> connect_target() const;
  // The flow of a packet, unless it was given to another client meanwhile.
  Flow* flow_in(Slot slot);
  void send_run(int fd, Direction direction, std::span<const Slot> slots);

  static constexpr uint64_t kListening = 0;  // tag; a flow's is its index + 1

  UniqueFd listening_;
  SocketAddress target_;
  size_t flows_max_;
  PacketPool& pool_;
  ReceiveBatch batch_;
  int epoll_ = -1;
  std::deque<Flow> flows_;
  std::map<SocketAddress, size_t> by_client_;
  std::unique_ptr<Outgoing> outgoing_;
  Counters counters_;
};

}  // namespace masque::linkemu
