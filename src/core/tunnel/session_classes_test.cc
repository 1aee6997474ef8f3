// SPDX-License-Identifier: Apache-2.0
// A session's two classes: who overtakes whom on the way out, who is held on the way in.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/tunnel/connect_ip_session.h"
#include "core/tunnel/test_proxy.h"

namespace masque {
namespace {

using test::at;
using test::datagram;
using test::make_packet;
using test::Packet;
using test::view_of;

constexpr uint8_t kExpedited = 46;

struct Proxy : test::Proxy {
  using test::Proxy::Proxy;
  SendVerdict send(const Packet& packet, Instant now = at(0s)) {
    return test::Proxy::send(packet, Forwarding::KernelDecrements, now);
  }
  // From the peer, `delay` after its stamp by a clock that is an hour behind; then it was held.
  void receive(const Packet& packet, Instant now, Duration delay,
               TrafficClass traffic_class = TrafficClass::RealTime, Duration held = 0ms) {
    session.on_http_datagram(
        now, datagram(packet), handler,
        {.traffic_class = traffic_class, .relative_delay = delay + 1h, .held = held});
  }
  void run_until(Instant end) {
    while (session.next_timeout() && *session.next_timeout() <= end) {
      session.on_timeout(*session.next_timeout(), channel, handler);
    }
  }
};

Packet marked(uint8_t dscp, size_t size = 200) {
  Packet packet = make_packet("192.0.2.1", "10.8.0.2", {.size = size});
  packet[1] = static_cast<uint8_t>(dscp << 2);
  store_be16(&packet[10], 0);
  store_be16(&packet[10], internet_checksum(Bytes(packet).first(20)));
  return packet;
}

// --- out ---

TEST(SessionClasses, the_channel_hears_the_class) {
  Proxy p;
  p.send(marked(0));
  p.send(marked(kExpedited));
  EXPECT_THAT(p.channel.classes, testing::ElementsAre(TrafficClass::Bulk, TrafficClass::RealTime));
}

TEST(SessionClasses, also_of_a_packet_whose_header_was_copied_for_its_ttl) {
  Proxy p({.classifier = {.realtime_ports = {{.first = 0x5a5a, .last = 0x5a5a}}}});
  const Packet packet = make_packet("10.8.0.9", "10.8.0.2");
  p.session.on_ip_packet(at(0s), {.head = packet, .body = {}}, view_of(packet),
                         Forwarding::WeDecrement, p.channel, p.tun);
  EXPECT_THAT(p.channel.classes, testing::ElementsAre(TrafficClass::RealTime));
}

TEST(SessionClasses, real_time_does_not_wait_behind_bulk) {
  Proxy p;
  p.channel.blocked = true;
  const Packet bulk = marked(0);
  const Packet first = marked(kExpedited, 100);
  const Packet second = marked(kExpedited, 101);
  p.send(bulk);
  p.send(first);
  p.channel.blocked = false;
  EXPECT_EQ(p.send(second), SendVerdict::Queued);  // behind its like
  p.session.flush(at(1ms), p.channel, p.back);
  EXPECT_THAT(p.channel.sent, testing::ElementsAre(first, second, bulk));
  EXPECT_THAT(p.channel.classes, testing::ElementsAre(TrafficClass::RealTime,
                                                      TrafficClass::RealTime, TrafficClass::Bulk));

  p.channel.blocked = true;
  p.send(bulk);
  p.channel.blocked = false;
  EXPECT_EQ(p.send(first), SendVerdict::Sent);  // at once, before what waits
}

TEST(SessionClasses, real_time_expires_in_the_queue) {
  Proxy p({.realtime_queue_delay_max = 100ms});
  p.channel.blocked = true;
  p.send(marked(kExpedited));
  p.send(marked(0));
  p.channel.blocked = false;
  p.session.flush(at(101ms), p.channel, p.back);
  EXPECT_THAT(p.channel.sent, testing::ElementsAre(marked(0)));
  EXPECT_EQ(p.session.counters().dropped(DropReason::QueueExpired), 1u);
  EXPECT_EQ(p.session.queue_counters().realtime_dropped, 1u);
}

TEST(SessionClasses, a_full_queue_leaves_the_tun_alone_for_a_moment_only) {
  Proxy p({.queue_bytes_max = 64 * 1536});
  p.channel.blocked = true;
  for (int i = 0; i < 31; ++i) p.send(marked(0, 1400));
  EXPECT_TRUE(p.session.wants_more());
  EXPECT_EQ(p.session.next_timeout(), std::nullopt);
  p.send(marked(0, 1400), at(1ms));
  EXPECT_FALSE(p.session.wants_more());
  EXPECT_EQ(p.session.next_timeout(), at(1ms) + ConnectIpSession::kFullQueuePatience);
  p.run_until(at(1s));
  EXPECT_TRUE(p.session.wants_more());
  EXPECT_EQ(p.session.next_timeout(), std::nullopt);
  // What is read meanwhile pays for itself; real time finds its way.
  for (int i = 0; i < 100; ++i) p.send(marked(0, 1400), at(30ms));
  p.send(marked(kExpedited), at(30ms));
  EXPECT_EQ(p.session.counters().dropped(DropReason::QueueFull), 32u + 100u + 1u - 64u);
  p.channel.blocked = false;
  p.session.flush(at(31ms), p.channel, p.back);
  EXPECT_EQ(p.channel.classes.front(), TrafficClass::RealTime);
  EXPECT_TRUE(p.session.wants_more());
}

// It moves all the time, and slowly: what a flow sends that heeds no signal would stand in the TUN,
// where nobody goes first.
TEST(SessionClasses, a_queue_that_stays_long_is_read_into_until_it_is_short) {
  Proxy p({.queue_bytes_max = 64 * 1536});
  p.channel.limit_packets = 0;
  const auto flush = [&p](size_t packets, Instant now) {
    p.channel.limit_packets = packets;
    p.session.flush(now, p.channel, p.back);
    p.channel.limit_packets = 0;
  };
  Instant now = at(0s);
  for (int i = 0; i < 20; ++i) {
    for (int n = 0; n < 40 && p.session.wants_more(); ++n) p.send(marked(0, 1400), now);
    now += 2ms;
    flush(1, now);
  }
  EXPECT_TRUE(p.session.wants_more());
  for (int i = 0; i < 20; ++i) p.send(marked(0, 1400), now);
  EXPECT_TRUE(p.session.wants_more());
  flush(64, now);
  for (int i = 0; i < 40; ++i) p.send(marked(0, 1400), now);
  EXPECT_FALSE(p.session.wants_more());
}

// 500 packets at once, of which one goes in each millisecond.
uint64_t managed(SendingPace pace) {
  Proxy p({.queue_bytes_max = 2 * 1024 * 1024, .queue_delay_max = 1h});
  p.channel.sending_pace = pace;
  p.channel.blocked = true;
  for (int i = 0; i < 500; ++i) p.send(marked(0, 1400));
  p.channel.blocked = false;
  for (Duration t = 0ms; t < 480ms; t += 1ms) {
    p.channel.limit_packets = 1;
    p.session.flush(at(t), p.channel, p.back);
  }
  EXPECT_EQ(p.session.counters().dropped(DropReason::QueueManaged),
            p.session.queue_counters().codel_dropped);
  return p.session.counters().dropped(DropReason::QueueManaged);
}

TEST(SessionClasses, a_standing_queue_is_managed_at_the_pace_of_the_tunnel) {
  EXPECT_GT(managed({.round_trip = 20ms}), 5u);
  EXPECT_GT(managed({.round_trip = 200ms}), 0u);
  EXPECT_LT(managed({.round_trip = 200ms}), managed({.round_trip = 20ms}));
}

TEST(SessionClasses, what_waits_while_the_rate_is_looked_for_is_no_standing_queue) {
  EXPECT_EQ(managed({.round_trip = 20ms, .searching = true}), 0u);
}

// --- in ---

Packet from_peer() { return make_packet("10.8.0.2", "192.0.2.1"); }

TEST(SessionClasses, without_a_path_layer_everything_is_delivered_at_once) {
  Proxy p;
  p.session.on_http_datagram(at(0s), datagram(from_peer()), p.handler);
  p.session.on_http_datagram(at(0s), datagram(from_peer()), p.handler,
                             {.traffic_class = TrafficClass::RealTime});
  p.receive(from_peer(), at(0s), 10ms, TrafficClass::Bulk);
  EXPECT_EQ(p.handler.packets.size(), 3u);
  EXPECT_EQ(p.session.next_timeout(), std::nullopt);
  Proxy off({.release = {.mode = ReleaseOptions::Mode::AtOnce}});
  off.receive(from_peer(), at(0s), 10ms);
  EXPECT_EQ(off.handler.packets.size(), 1u);
}

TEST(SessionClasses, real_time_is_delivered_evenly) {
  Proxy p;
  const Duration delays[] = {50ms, 62ms, 41ms, 70ms, 55ms, 43ms, 68ms, 50ms};
  Duration sent = 0ms;
  for (const Duration delay : delays) {
    p.run_until(at(sent) + delay);
    p.receive(from_peer(), at(sent) + delay, delay);
    sent += 20ms;
  }
  EXPECT_LT(p.handler.packets.size(), 8u);
  p.run_until(at(1s));
  EXPECT_EQ(p.handler.packets.size(), 8u);
  EXPECT_EQ(p.session.counters().packets_received, 8u);
  const ReleaseFigures figures = p.session.release_figures();
  EXPECT_EQ(figures.packets, 8u);
  EXPECT_GT(figures.jitter_before, 4ms);
  EXPECT_LT(figures.jitter_after, 1ms);
  EXPECT_GT(figures.added_mean, 1ms);
  const ClassFigures realtime = p.session.figures().of(TrafficClass::RealTime);
  EXPECT_EQ(realtime.jitter_before, figures.jitter_before);
  EXPECT_EQ(realtime.jitter_after, figures.jitter_after);
  EXPECT_EQ(p.session.figures().release_waiting, 0u);
}

// Bulk comes out of the order when what it waited for is there.
TEST(SessionClasses, jitter_of_bulk_is_told_before_and_after_its_order) {
  Proxy p;
  for (int i = 0; i < 100; ++i) {
    const Duration delay = i % 2 == 0 ? 10ms : 20ms;
    p.receive(from_peer(), at(i * 20ms) + 20ms, delay, TrafficClass::Bulk, 20ms - delay);
  }
  const ClassFigures bulk = p.session.figures().of(TrafficClass::Bulk);
  EXPECT_GT(bulk.jitter_before, 9ms);
  EXPECT_EQ(bulk.jitter_after, 0ms);
}

TEST(SessionClasses, tells_what_it_classified_and_what_waits) {
  Proxy p;
  p.send(marked(0));
  p.channel.blocked = true;
  p.send(marked(kExpedited));
  p.send(marked(0));
  p.send(marked(0));
  const SessionFigures figures = p.session.figures();
  EXPECT_EQ(figures.of(TrafficClass::RealTime).classified, 1u);
  EXPECT_EQ(figures.of(TrafficClass::Bulk).classified, 3u);
  EXPECT_EQ(figures.classifier.by_dscp, 1u);
  EXPECT_EQ(figures.waiting_packets, 3u);
  EXPECT_EQ(figures.of(TrafficClass::Bulk).waiting_bytes,
            2 * figures.of(TrafficClass::RealTime).waiting_bytes);
}

// What a packet has waited in the path layer's order counts against the same budget.
TEST(SessionClasses, one_budget_bounds_all_waiting_of_real_time) {
  const Duration budget = 60ms;
  Proxy p({.release = {.allowance = budget}});
  // Delays of 0 to 80 ms: the target is as high as it may be.
  Duration sent = 0ms;
  for (const Duration delay : {0ms, 80ms, 0ms, 80ms, 0ms}) {
    p.receive(from_peer(), at(sent) + delay, delay);
    sent += 100ms;
  }
  p.run_until(at(sent));
  const size_t before = p.handler.packets.size();
  p.receive(from_peer(), at(sent) + 50ms, 10ms, TrafficClass::RealTime, 40ms);
  p.run_until(at(sent) + budget - 1ms);
  EXPECT_EQ(p.handler.packets.size(), before);
  p.run_until(at(sent) + budget);
  EXPECT_EQ(p.handler.packets.size(), before + 1);
}

TEST(SessionClasses, rfc9484_7_2_what_waits_is_dropped_when_its_address_is_withdrawn) {
  Proxy p;
  p.receive(from_peer(), at(0s), 10ms);
  EXPECT_TRUE(p.handler.packets.empty());
  EXPECT_TRUE(p.session.next_timeout());
  p.session.assign_addresses({});
  p.run_until(at(1s));
  EXPECT_TRUE(p.handler.packets.empty());
  EXPECT_EQ(p.session.counters().dropped(DropReason::SourceNotAllowed), 1u);
}

TEST(SessionClasses, what_is_refused_is_refused_at_its_arrival) {
  Proxy p;
  p.receive(make_packet("10.8.0.3", "192.0.2.1"), at(0s), 10ms);
  EXPECT_EQ(p.session.counters().dropped(DropReason::SourceNotAllowed), 1u);
  EXPECT_EQ(p.session.release_figures().packets, 0u);
}

TEST(SessionClasses, a_stamp_beyond_reason_is_none) {
  Proxy p;
  p.receive(from_peer(), at(0s), ReleaseQueue::kRelativeDelayMax);
  p.receive(from_peer(), at(0s), -2 * ReleaseQueue::kRelativeDelayMax);
  EXPECT_EQ(p.handler.packets.size(), 2u);
}

TEST(SessionClasses, an_aborted_session_delivers_nothing_more) {
  Proxy p;
  p.receive(from_peer(), at(0s), 10ms);
  p.session.on_stream_data(at(1ms), from_hex("03 01 09").value(), p.handler);
  EXPECT_TRUE(p.session.abort_reason());
  EXPECT_EQ(p.session.next_timeout(), std::nullopt);
  p.session.on_timeout(at(1s), p.channel, p.handler);
  EXPECT_TRUE(p.handler.packets.empty());
}

}  // namespace
}  // namespace masque
