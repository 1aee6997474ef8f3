// SPDX-License-Identifier: Apache-2.0
// The path layer on bad links: what the tunnel gives to a call and to a transfer, and that nothing
// of it is seen where the link is good or the peer does not know it.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "sim/link_profiles.h"
#include "tests/scenarios/scenario.h"

namespace masque {
namespace {

struct Resilient {
  ServerSetup server;
  ClientSetup client;
};

Resilient with(ResilienceMode mode, const LinkOptions& link) {
  Resilient out;
  out.server.gateway.resilience.mode = mode;
  out.client.tunnel.resilience.mode = mode;
  out.client.up = out.client.down = link;
  return out;
}

SimClient& connected(Lab& lab, Resilient setup) {
  lab.add_server(std::move(setup.server));
  SimClient& client = lab.add_client("anna", std::move(setup.client));
  EXPECT_TRUE(lab.connect(client, 30s));
  return client;
}

LinkOptions mobile(LinkOptions::Order order) {
  LinkOptions link = find_link_profile("mobile")->up.options;
  link.order = order;
  return link;
}

// For who looks for the reason of a figure: MASQUE_SHOW=1.
void show(const char* what, const Flow& flow) {
  if (std::getenv("MASQUE_SHOW") == nullptr) return;
  const auto milliseconds = [](Duration d) { return static_cast<double>(d.count()) / 1e6; };
  std::fprintf(stderr, "%s: loss %.4f %%, delay p50 %.1f p99 %.1f max %.1f ms\n", what,
               flow.figures().loss() * 100, milliseconds(flow.figures().delay_percentile(0.5)),
               milliseconds(flow.figures().delay_percentile(0.99)),
               milliseconds(flow.figures().delay_max));
}

void show_layer(Lab& lab, SimClient& client) {
  if (std::getenv("MASQUE_SHOW") == nullptr) return;
  std::fprintf(stderr, "%s\n", lab.describe(client).c_str());
}

void voice(Lab& lab, const LinkOptions& link, double loss_max) {
  SimClient& client = connected(lab, with(ResilienceMode::Auto, link));
  Flow& up = lab.stream(client.inner(), lab.internet(), {.interval = 20ms, .packet_size = 200});
  Flow& down = lab.stream(lab.internet(), client.inner(), {.interval = 20ms, .packet_size = 200});
  lab.run(60s);
  up.stop();
  down.stop();
  lab.run(1s);
  show("voice up", up);
  show("voice down", down);
  show_layer(lab, client);
  EXPECT_LE(up.figures().loss(), loss_max);
  EXPECT_LE(down.figures().loss(), loss_max);
  lab.finish();
}

SCENARIO(resilience_voice_mobile, 5, "A call over the mobile profile: almost nothing is lost") {
  voice(lab, mobile(LinkOptions::Order::Free), 0.002);
}

SCENARIO(resilience_voice_mobile_bursts, 5, "A call with bursts of three lost packets") {
  voice(lab, find_link_profile("mobile-bursts")->up.options, 0.005);
}

// A constant rate below that of the link: plain QUIC collapses under it. Fifteen seconds after the
// first 15: in one run of ten slow start ends early, and a rate near that of the link is found
// later.
void stream(Lab& lab, const Resilient& setup, Duration interval, double loss_max) {
  SimClient& client = connected(lab, setup);
  Flow& flow =
      lab.stream(lab.internet(), client.inner(), {.interval = interval, .packet_size = 1200});
  lab.run(15s);
  flow.restart_figures();
  lab.run(15s);
  flow.stop();
  lab.run(1s);
  show("stream", flow);
  show_layer(lab, client);
  EXPECT_LE(flow.figures().loss(), loss_max);
  lab.finish();
}

SCENARIO(resilience_stream_5_megabit, 5, "5 Mbit/s of datagrams over the mobile profile") {
  stream(lab, with(ResilienceMode::Auto, mobile(LinkOptions::Order::Kept)), 1920us, 0.01);
}

SCENARIO(resilience_stream_30_megabit, 3, "30 Mbit/s over the mobile profile") {
  stream(lab, with(ResilienceMode::Auto, mobile(LinkOptions::Order::Kept)), 320us, 0.01);
}

SCENARIO(resilience_stream_30_megabit_reordered, 3, "30 Mbit/s, reordered") {
  stream(lab, with(ResilienceMode::Auto, mobile(LinkOptions::Order::Free)), 320us, 0.01);
}

// A call while somebody sends down half as much again as the link carries, and heeds no signal. The
// first seconds, in which the rate is found, do not count.
void call_beside(Lab& lab, const char* profile, Duration path_delay_max) {
  const LinkProfile& link = *find_link_profile(profile);
  Resilient setup = with(ResilienceMode::Auto, link.up.options);
  setup.client.down = link.down.options;
  SimClient& client = connected(lab, std::move(setup));
  const auto rate = static_cast<double>(link.down.options.rate_bits_per_second);
  const auto interval = Duration(static_cast<int64_t>(1200 * 8e9 / (1.5 * rate)));
  Flow& bulk =
      lab.stream(lab.internet(), client.inner(), {.interval = interval, .packet_size = 1200});
  const FlowOptions voice{.interval = 20ms, .packet_size = 200, .port = 5004};
  Flow& up = lab.stream(client.inner(), lab.internet(), voice);
  Flow& down = lab.stream(lab.internet(), client.inner(), voice);
  lab.run(5s);
  for (Flow* flow : {&bulk, &up, &down}) flow->restart_figures();
  constexpr Duration kJudged = 10s;
  lab.run(kJudged);
  const double carried = static_cast<double>(bulk.figures().bytes_arrived) * 8 / 10;
  for (Flow* flow : {&bulk, &up, &down}) flow->stop();
  lab.run(1s);
  show("bulk", bulk);
  show("voice up", up);
  show("voice down", down);
  show_layer(lab, client);
  for (const Flow* call : {&up, &down}) {
    EXPECT_LE(call->figures().loss(), 0.01);
    EXPECT_LE(call->figures().delay_percentile(0.99), path_delay_max + 150ms);
  }
  EXPECT_GE(carried, 0.4 * rate);
  lab.finish();
}

SCENARIO(resilience_call_beside_full_mobile, 1, "A call beside a full link of the mobile profile") {
  call_beside(lab, "mobile", 105ms);
}

SCENARIO(resilience_call_beside_full_lte, 1, "A call beside a full link with a queue of 250 ms") {
  call_beside(lab, "lte", 41ms);
}

SCENARIO(resilience_call_beside_full_wifi, 1, "A call beside a full link with bursts of loss") {
  call_beside(lab, "wifi-busy", 42ms);
}

// Nobody has sent anything for so long that NATs forget a flow, and then both ends do at once.
SCENARIO(resilience_first_packet_after_six_idle_minutes, 3,
         "A tunnel that was idle carries the first packet of both ends at once") {
  constexpr Duration kRoundTrip = 130ms;
  SimClient& client = connected(lab, with(ResilienceMode::Auto, {.delay = kRoundTrip / 2}));
  const FlowOptions one{.interval = 6min, .packet_size = 200};
  Flow& up = lab.stream(client.inner(), lab.internet(), one);
  Flow& down = lab.stream(lab.internet(), client.inner(), one);
  lab.run(6min + 2 * kRoundTrip);
  for (const Flow* flow : {&up, &down}) {
    EXPECT_EQ(flow->sent(), 1u);
    EXPECT_EQ(flow->arrived(), 1u);
  }
  EXPECT_EQ(client.dials(), 1u) << "the tunnel lives on";
  lab.finish();
}

// ---- no harm ----------------------------------------------------------------------------------

// Megabit per second that arrive of more than a link without loss carries, from the fifth second
// on.
double full_link(Lab& lab, ResilienceMode mode, Duration queue) {
  SimClient& client =
      connected(lab, with(mode, {.rate_bits_per_second = 50'000'000, .queue_time_max = queue}));
  Flow& flow = lab.stream(lab.internet(), client.inner(), {.interval = 160us, .packet_size = 1200});
  lab.run(4s);
  flow.restart_figures();
  lab.run(8s);
  const double out = static_cast<double>(flow.figures().bytes_arrived) * 8 / 8e6;
  flow.stop();
  show("full link", flow);
  lab.finish();
  return out;
}

// Loss by congestion is not answered with repairs, which would be congestion too.
void no_harm(Lab& lab, Duration queue, double least) {
  Lab plain(lab.seed(), nullptr);
  const double without = full_link(plain, ResilienceMode::Off, queue);
  EXPECT_GE(full_link(lab, ResilienceMode::Auto, queue), least * without);
}

SCENARIO(resilience_full_link_queue_100_ms, 2, "A full queue is not taken for a bad link") {
  no_harm(lab, 100ms, 0.97);
}

SCENARIO(resilience_full_link_queue_20_ms, 2, "A full link with a short queue") {
  no_harm(lab, 20ms, 0.97);
}

// Shorter than the queue that the shaper aims at.
SCENARIO(resilience_full_link_queue_10_ms, 2, "A full link with a very short queue") {
  no_harm(lab, 10ms, 0.7);  // 0.73 in the worst of ten seeds: docs/roadmap.md
}

}  // namespace
}  // namespace masque
