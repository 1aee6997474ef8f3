// SPDX-License-Identifier: Apache-2.0
// Joins two interfaces of the current network namespace with raw packet sockets: whole Ethernet
// frames, what is sent is not read back. Senders on veth pairs hand over super-packets (TSO, USO)
// and leave checksums to the device; the vnet header says so, and they are made here what a wire
// would have carried.
//
// Steps of a frame: receive_batch -> checksum, split -> control frames across at once, IP packets
// to the sink -> (the link) -> send.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "core/ip/offload.h"
#include "host/unique_fd.h"
#include "linkemu/packet_io.h"
#include "linkemu/receive_batch.h"

namespace masque::linkemu {

class Bridge final : public PacketIo {
 public:
  // The larger MTU of both interfaces with the frame's header: what a slot must hold.
  static Result<size_t, SysError> frame_size_max(const std::string& a, const std::string& b);
  static Result<std::unique_ptr<Bridge>, SysError> create(const std::string& a,
                                                          const std::string& b, PacketPool& pool);
  ~Bridge() override;

  Result<void, SysError> watch(int epoll) override;
  More receive(uint64_t tag, PacketSink& sink) override;
  void send(Direction direction, std::span<const Slot> slots) override;
  MutableBytes payload(Slot slot) override;
  const Counters& counters() override;

 private:
  using Sockets = std::array<UniqueFd, 2>;
  struct Outgoing;
  Bridge(Sockets sockets, PacketPool& pool);
  void on_message(size_t i, Direction direction, PacketSink& sink);
  void on_frame(const Arrival& arrival, PacketSink& sink);
  void split(const OffloadInfo& info, MutableBytes frame, const Arrival& like, PacketSink& sink);
  void count_kernel_drops();

  Sockets sockets_;  // of the interface that a Direction comes from
  PacketPool& pool_;
  ReceiveBatch batch_;
  std::vector<Slot> control_;  // control frames of the batch in hand
  std::unique_ptr<Outgoing> outgoing_;
  Counters counters_;
};

}  // namespace masque::linkemu
