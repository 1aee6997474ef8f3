// SPDX-License-Identifier: Apache-2.0
#include "service/watch/watch_sample.h"

#include <gtest/gtest.h>

#include "service/status.h"

namespace masque {
namespace {

constexpr size_t kRealTime = static_cast<size_t>(TrafficClass::RealTime);
constexpr size_t kBulk = static_cast<size_t>(TrafficClass::Bulk);

SessionStatus session(std::string user) {
  SessionStatus out;
  out.user = std::move(user);
  out.connected_for = 5s;
  out.path.peer = "192.0.2.1:4433";
  out.path.rtt = 30ms;
  out.counters.bytes_sent = 1000;
  out.counters.bytes_received = 2000;
  out.path.resilience = ResilienceStatus{
      .mode = "auto",
      .code = "xor",
      .realtime = {.sent = 100,
                   .bytes_sent = 9000,
                   .repair_bytes_sent = 1000,
                   .received = 300,
                   .lost = 6,
                   .recovered = 5,
                   .abandoned = 3,
                   .delivered = 98,
                   .late = 1,
                   .at_peer = {.received = 290, .lost = 29, .recovered = 8, .abandoned = 2},
                   .jitter_before = 9ms,
                   .jitter_after = 1ms},
      .rtt = 25ms};
  return out;
}

TEST(WatchStatus, is_read_from_what_status_tells) {
  ServiceStatus status;
  status.role = ServiceRole::Server;
  status.state = ServiceState::Listening;
  status.pid = 7;
  status.sessions = {session("anna"), session("bob")};
  status.sessions[1].path.resilience.reset();
  const auto read = read_watch_status(status_to_json(status));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->role, "server");
  EXPECT_EQ(read->state, "listening");
  EXPECT_EQ(read->pid, 7);
  ASSERT_EQ(read->sessions.size(), 2u);
  const WatchSample& anna = read->sessions[0];
  EXPECT_EQ(anna.user, "anna");
  EXPECT_EQ(anna.path_layer, "auto, xor");
  EXPECT_EQ(anna.rtt_ms, 25) << "the path layer's own is the newer one";
  EXPECT_EQ(anna.path_bytes, 10'000);
  const WatchClass& realtime = anna.classes[kRealTime];
  EXPECT_DOUBLE_EQ(*realtime.in.loss_before(), 0.02);
  EXPECT_DOUBLE_EQ(*realtime.in.loss_after(), 0.02);
  EXPECT_DOUBLE_EQ(*realtime.out.loss_before(), 0.1);
  EXPECT_DOUBLE_EQ(*realtime.out.loss_after(), 0.02);
  EXPECT_EQ(realtime.jitter_before_ms, 9);
  EXPECT_FALSE(anna.classes[kBulk].in.loss_before());
  EXPECT_EQ(read->sessions[1].path_layer, "");
  EXPECT_EQ(read->sessions[1].rtt_ms, 30);
}

TEST(WatchStatus, of_a_client_has_a_session_while_it_is_connected) {
  ServiceStatus status;
  status.state = ServiceState::Connected;
  status.session = session("");
  EXPECT_EQ(read_watch_status(status_to_json(status))->sessions.size(), 1u);
  status.state = ServiceState::Reconnecting;
  EXPECT_EQ(read_watch_status(status_to_json(status))->sessions.size(), 0u);
}

TEST(WatchStatus, of_anything_else_is_none) {
  for (const auto text : {"", "[]", "{}", "null", R"({"state":5})"}) {
    EXPECT_FALSE(read_watch_status(text)) << text;
  }
  EXPECT_TRUE(read_watch_status(R"({"state":"listening","role":"server","sessions":5})"));
  EXPECT_TRUE(read_watch_status(R"({"state":"listening","role":"server","sessions":[5,[]]})"));
}

TEST(WatchPoint, is_what_happened_in_between) {
  WatchSample before{.bytes_sent = 1000, .bytes_received = 500, .path_bytes = 2000};
  before.classes[kBulk].in = {.packets = 100, .settled = 90, .lost = 1, .recovered = 1};
  WatchSample after = before;
  after.bytes_sent = 3500;
  after.path_bytes = 6000;
  after.repair_bytes = 1000;
  after.rtt_ms = 12;
  after.classes[kBulk].in = {.packets = 300, .settled = 290, .lost = 5, .recovered = 4, .gone = 1};
  after.classes[kBulk].jitter_before_ms = 3;
  const auto point = watch_point(before, after, 2s);
  ASSERT_TRUE(point);
  EXPECT_DOUBLE_EQ(point->up_bit_s(), 10'000);
  EXPECT_DOUBLE_EQ(point->down_bit_s(), 0);
  EXPECT_DOUBLE_EQ(*point->overhead(), 0.25);
  EXPECT_DOUBLE_EQ(*point->in().loss_before(), 0.02);
  EXPECT_DOUBLE_EQ(*point->in().loss_after(), 0.005);
  EXPECT_FALSE(point->out().loss_before());
  EXPECT_EQ(*point->jitter_before_ms(), 3);
}

TEST(WatchPoint, jitter_is_that_of_real_time_where_there_is_some) {
  WatchPoint point;
  EXPECT_FALSE(point.jitter_before_ms());
  point.classes[kBulk] = {.in = {.packets = 1}, .out = {}, .jitter_before_ms = 2};
  EXPECT_EQ(point.jitter_before_ms(), 2);
  point.classes[kRealTime] = {.in = {.packets = 1}, .out = {}, .jitter_before_ms = 5};
  EXPECT_EQ(point.jitter_before_ms(), 5);
}

TEST(WatchPoint, there_is_none_when_counters_began_anew) {
  const WatchSample before{.connected_s = 50, .bytes_sent = 1000};
  WatchSample after = before;
  EXPECT_TRUE(watch_point(before, after, 1s));
  EXPECT_FALSE(watch_point(before, after, 0s));
  after.connected_s = 1;
  EXPECT_FALSE(watch_point(before, after, 1s));
  after = before;
  after.bytes_sent = 0;
  EXPECT_FALSE(watch_point(before, after, 1s));
}

// Given up in one interval, there in the next.
TEST(WatchPoint, what_comes_after_all_is_taken_back) {
  WatchPoint point;
  point.classes[kBulk].in = {.packets = 10, .gone = 1};
  WatchPoint later;
  later.classes[kBulk].in = {.packets = 10, .gone = -1};
  EXPECT_EQ(*later.in().loss_after(), 0);
  point.extend(later);
  EXPECT_EQ(*point.in().loss_after(), 0);
  EXPECT_EQ(point.in().packets, 20);
}

}  // namespace
}  // namespace masque
