// SPDX-License-Identifier: Apache-2.0
// What a packet pays for its class and for a wait in the queue, in nanoseconds of CPU: one line a
// case. Run it on an idle machine; the best of three runs counts.
#include <time.h>

#include <cstdio>
#include <vector>

#include "core/tunnel/egress_queue.h"
#include "core/tunnel/flow_hash.h"
#include "core/tunnel/test_packets.h"
#include "core/tunnel/traffic_classifier.h"

namespace masque {
namespace {

constexpr int kRounds = 2'000'000;

double cpu_ns() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

template <class Work>
void measure(const char* name, Work work) {
  double best = 1e18;
  for (int run = 0; run < 3; ++run) {
    const double start = cpu_ns();
    for (int i = 0; i < kRounds; ++i) work(i);
    best = std::min(best, (cpu_ns() - start) / kRounds);
  }
  std::printf("%-44s %7.1f ns\n", name, best);
}

void classify(const char* name, uint8_t protocol) {
  TrafficClassifier classifier({}, FlowHash(1));
  const test::Packet packet =
      test::make_packet("10.0.0.1", "192.0.2.1", {.protocol = protocol, .size = 200});
  const IpPacketView view = test::view_of(packet);
  size_t realtime = 0;
  measure(name, [&](int i) {
    if (classifier.classify(test::at(i * 20ms), view, packet) == TrafficClass::RealTime) ++realtime;
  });
  if (realtime == 1) std::printf("never\n");
}

void wait(const char* name, size_t size, size_t waiting, uint64_t flows) {
  EgressQueue queue({.bytes_max = 2 * 1024 * 1024});
  const test::Packet packet = test::make_packet("10.0.0.1", "192.0.2.1", {.size = size});
  const PacketSlices slices{.head = Bytes(packet).first(40), .body = Bytes(packet).subspan(40)};
  const auto push = [&](int i) {
    const auto flow = static_cast<uint64_t>(i) % flows * 0x9e3779b97f4a7c15;
    queue.push(test::at(i * 1us), TrafficClass::Bulk, flow, slices);
  };
  for (int i = 0; i < static_cast<int>(waiting); ++i) push(i);
  size_t bytes = 0;
  measure(name, [&](int i) {
    push(i);
    const auto front = queue.front(test::at(i * 1us));
    bytes += front->packet.size();
    queue.pop();
  });
  if (bytes == 1) std::printf("never\n");
}

void run() {
  classify("class of a TCP packet", ip_protocol::kTcp);
  classify("class of a UDP packet by its pace", ip_protocol::kUdp);
  wait("in and out, 1400 bytes, queue of 100, 1 flow", 1400, 100, 1);
  wait("in and out, 1400 bytes, queue of 600, 100 flows", 1400, 600, 100);
  wait("in and out, 60 bytes, queue of 100, 1 flow", 60, 100, 1);
  wait("in and out and overflow, 1400 bytes, 100 flows", 1400, 4000, 100);
}

}  // namespace
}  // namespace masque

int main() { masque::run(); }
