// SPDX-License-Identifier: Apache-2.0
#include "service/status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "service/control/protocol.h"

namespace masque {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

IpPrefix prefix(std::string_view text) { return *IpPrefix::parse(text); }

SessionStatus session() {
  SessionStatus s;
  s.user = "anna";
  s.addresses = {prefix("10.8.0.2/32"), prefix("fd00:8::2/128")};
  s.routes = {prefix("10.8.0.0/24")};
  s.mtu = 1382;
  s.ipv6_probe = "unanswered";
  s.connected_for = 3700s;
  s.path = {.transport = "h3",
            .peer = "192.0.2.1:4433",
            .rtt = 12'345us,
            .udp_sent = 5,
            .udp_received = 6,
            .udp_lost = 1,
            .congestion_window_bytes = 14'000,
            .cipher = "TLS_AES_128_GCM_SHA256",
            .key_exchange = "X25519MLKEM768"};
  s.classes = {.realtime = {.packets = 7, .waiting_bytes = 256, .dropped = 1},
               .bulk = {.packets = 90, .waiting_bytes = 1536, .dropped = 6},
               .by_dscp = 2,
               .by_port = 1,
               .by_pace = 4,
               .too_fast = 5,
               .waiting_packets = 2,
               .marked = 3,
               .codel_dropped = 4,
               .expired = 2,
               .overflow = 1};
  s.counters = {.packets_sent = 10,
                .bytes_sent = 12'000,
                .packets_received = 20,
                .bytes_received = 2'500'000,
                .ipv6_probes_unanswered = 1,
                .drops = {{"ttl", 2}, {"source", 1}}};
  return s;
}

ServiceStatus client() {
  ServiceStatus s;
  s.role = ServiceRole::Client;
  s.state = ServiceState::Connected;
  s.version = "0.1.0";
  s.config_file = "/etc/laptop.toml";
  s.pid = 42;
  s.uptime = 90'061s;
  s.interface = "masque0";
  s.reconnects = 3;
  s.resilience_mode = "auto";
  s.session = session();
  return s;
}

// The stable form of docs/operating.md, word for word.
TEST(StatusJson, of_a_client_is_stable) {
  EXPECT_EQ(
      status_to_json(client()),
      R"({"version":1,"program":"masque-vpn 0.1.0","role":"client","state":"connected","pid":42,)"
      R"("uptime_s":90061,"config":"/etc/laptop.toml","interface":"masque0","last_error":"",)"
      R"("resilience_mode":"auto","reconnects":3,)"
      R"("peer":"192.0.2.1:4433","addresses":["10.8.0.2/32","fd00:8::2/128"],"routes":["10.8.0.0/24"],)"
      R"("site_routes":[],"transport":"h3","rtt_ms":12.345,"mtu":1382,"ipv6_probe":"unanswered",)"
      R"("connected_s":3700,)"
      R"("cipher":"TLS_AES_128_GCM_SHA256","key_exchange":"X25519MLKEM768",)"
      R"("udp":{"packets_sent":5,"packets_received":6,"packets_lost":1,"congestion_window_bytes":14000},)"
      R"("classes":{"realtime":{"packets":7,"by_dscp":2,"by_port":1,"by_pace":4,"waiting_bytes":256,"dropped":1},)"
      R"("bulk":{"packets":90,"too_fast":5,"waiting_bytes":1536,"dropped":6},"waiting_packets":2,"marked":3,)"
      R"("codel_dropped":4,"expired":2,"overflow":1},)"
      R"("counters":{"packets_sent":10,"bytes_sent":12000,"packets_received":20,"bytes_received":2500000,)"
      R"("packets_dropped":3,"drops":{"ttl":2,"source":1},"ipv6_probes_unanswered":1}})");
}

TEST(StatusJson, has_every_member_before_the_first_connection) {
  ServiceStatus status;
  status.state = ServiceState::Connecting;
  const std::string json = status_to_json(status);
  for (const auto key :
       {"peer", "addresses", "routes", "transport", "rtt_ms", "mtu", "counters", "state"}) {
    EXPECT_THAT(json, HasSubstr("\"" + std::string(key) + "\":"));
  }
  EXPECT_EQ(state_of(json), "connecting");
}

TEST(StatusJson, of_a_server_lists_its_sessions) {
  ServiceStatus status;
  status.role = ServiceRole::Server;
  status.state = ServiceState::Listening;
  status.listen = "0.0.0.0:4433";
  status.pools = {prefix("10.8.0.0/24")};
  status.sessions = {session()};
  const std::string json = status_to_json(status);
  EXPECT_EQ(state_of(json), "listening");
  EXPECT_THAT(json, HasSubstr(R"("sessions":[{"user":"anna","peer":"192.0.2.1:4433")"));
  const std::string text = status_to_text(json);
  EXPECT_THAT(text, HasSubstr("listening"));
  EXPECT_THAT(text, HasSubstr("anna"));
  EXPECT_THAT(text, HasSubstr("1 h 1 min"));
}

TEST(StatusText, is_for_people) {
  const std::string text = status_to_text(status_to_json(client()));
  EXPECT_THAT(text, HasSubstr("state        connected\n"));
  EXPECT_THAT(text, HasSubstr("round trip   12.3 ms\n"));
  EXPECT_THAT(text, HasSubstr("interface    masque0, MTU 1382\n"));
  EXPECT_THAT(text, HasSubstr("IPv6         the gateway answers no pings"));
  EXPECT_THAT(text, HasSubstr("12.0 kB in 10 packets sent, 2.5 MB in 20 received, 3 dropped"));
  EXPECT_THAT(text, HasSubstr("dropped      2 ttl\n"));
  EXPECT_THAT(text, HasSubstr("for 1 d 1 h"));
}

ServiceStatus client_with_path_layer() {
  ServiceStatus s = client();
  s.session->path.resilience =
      ResilienceStatus{.mode = "auto",
                       .code = "sliding-window",
                       .realtime = {.sent = 3000,
                                    .repairs_sent = 6000,
                                    .bytes_sent = 6000,
                                    .repair_bytes_sent = 2000,
                                    .received = 9000,
                                    .lost = 180,
                                    .recovered = 59,
                                    .abandoned = 3,
                                    .delivered = 2998,
                                    .late = 1,
                                    .at_peer = {.received = 9000, .lost = 171, .recovered = 60},
                                    .jitter_before = 9'800us,
                                    .jitter_after = 310us},
                       .bulk = {.sent = 1000,
                                .resent = 2,
                                .loss_sent = 0.021,
                                .received = 900,
                                .lost = 18,
                                .recovered = 17,
                                .abandoned = 1,
                                .delivered = 899,
                                .at_peer = {.received = 1000, .lost = 20, .abandoned = 5}},
                       .release = {.target = 48ms,
                                   .added_mean = 21ms,
                                   .packets = 2998,
                                   .late = 2,
                                   .early = 0,
                                   .waiting = 3},
                       .late = 1,
                       .duplicates = 2,
                       .damaged = 3,
                       .forged = 4,
                       .mean_burst = 1.5,
                       .rtt = 100ms,
                       .queue = 7ms,
                       .hold = 34ms,
                       .delay_spread = 29ms,
                       .rate = {}};
  return s;
}

TEST(StatusJson, has_resilience_only_with_a_path_layer) {
  EXPECT_THAT(status_to_json(client()), Not(HasSubstr("\"resilience\"")));
  EXPECT_THAT(
      status_to_json(client_with_path_layer()),
      HasSubstr(
          R"("resilience":{"mode":"auto","code":"sliding-window",)"
          R"("realtime":{"packets_sent":3000,"bytes_sent":6000,"repairs_sent":6000,"repair_bytes_sent":2000,)"
          R"("overhead":0.25,"resent":0,"loss_sent":0.0,"packets_received":9000,"lost":180,"recovered":59,)"
          R"("abandoned":3,"delivered":2998,"late":1,"loss_before":0.02,"loss_after":0.0006666666666666666,)"
          R"("jitter_before_ms":9.8,"jitter_after_ms":0.31,)"
          R"("at_peer":{"packets_received":9000,"lost":171,"recovered":60,"abandoned":0,)"
          R"("loss_before":0.019,"loss_after":0.0}},)"
          R"("bulk":{"packets_sent":1000,"bytes_sent":0,"repairs_sent":0,"repair_bytes_sent":0,"overhead":0.0,)"
          R"("resent":2,"loss_sent":0.021,"packets_received":900,"lost":18,"recovered":17,"abandoned":1,)"
          R"("delivered":899,"late":0,"loss_before":0.02,"loss_after":0.0011111111111111111,)"
          R"("jitter_before_ms":0.0,"jitter_after_ms":0.0,)"
          R"("at_peer":{"packets_received":1000,"lost":20,"recovered":0,"abandoned":5,)"
          R"("loss_before":0.02,"loss_after":0.005}},)"
          R"("release":{"target_ms":48.0,"added_ms":21.0,"packets":2998,"late":2,"early":0,"waiting":3},)"
          R"("late":1,"duplicates":2,"damaged":3,"forged":4,"mean_burst":1.5,"rtt_ms":100.0,"queue_ms":7.0,)"
          R"("hold_ms":34.0,"delay_spread_ms":29.0},"counters")"));
}

constexpr std::string_view kBlock =
    R"(resilience   auto, sliding-window; round trip 100.0 ms, queue 7.0 ms, hold 34.0 ms, bursts of 1.5, no limit
             CLASS       PACKETS WIRE LOSS    AFTER RECOVERED  LATE   LOST       JITTER ms  OVERHEAD
sent         real time      3000    1.90 %   0.00 %        60     -      0               -    25.0 %
sent         bulk           1000    2.00 %   0.50 %         0     -      5               -     0.0 %
received     real time      2998    2.00 %   0.07 %        59     1      3       9.8 > 0.3         -
received     bulk            899    2.00 %   0.11 %        17     0      1       0.0 > 0.0         -
release      real time 48.0 ms after the fastest packet, 21.0 ms of waiting; of 2998 packets 2 late, 0 early
classes      7 packets real time (2 by DSCP, 1 by port, 4 by pace), 90 bulk (5 of them too fast for real time)
queue        2 packets wait (256 B real time, 1.5 kB bulk); 3 marked, 4 dropped by CoDel, 2 expired, 1 without room
)";

TEST(StatusText, tells_loss_jitter_and_overhead_of_each_class) {
  ServiceStatus status = client_with_path_layer();
  EXPECT_THAT(status_to_text(status_to_json(status)), HasSubstr(kBlock));
  status.session->path.resilience->rate = 5e6;
  EXPECT_THAT(status_to_text(status_to_json(status)), HasSubstr(", 40.0 Mbit/s allowed\n"));
}

TEST(StatusText, says_why_there_is_no_path_layer) {
  ServiceStatus status = client();
  EXPECT_THAT(status_to_text(status_to_json(status)),
              HasSubstr("resilience   not in use: [resilience] mode is \"auto\" here, and the "
                        "other end does not know it or has it off\n"));
  status.resilience_mode = "off";
  EXPECT_THAT(status_to_text(status_to_json(status)),
              HasSubstr("resilience   off: [resilience] mode is \"off\" here\n"));
  status.resilience_mode = "auto";
  status.session->path.peer.clear();  // dials again
  EXPECT_THAT(status_to_text(status_to_json(status)), Not(HasSubstr("resilience")));
}

TEST(StatusText, of_a_server_tells_of_each_client) {
  ServiceStatus status;
  status.role = ServiceRole::Server;
  status.resilience_mode = "auto";
  status.sessions = {*client_with_path_layer().session, session()};
  status.sessions[1].user = "bob";
  EXPECT_THAT(status_to_text(status_to_json(status)),
              AllOf(HasSubstr("\nanna:\n" + std::string(kBlock)),
                    HasSubstr("\nbob:\nresilience   not in use: ")));
  status.resilience_mode = "off";
  status.sessions.pop_back();
  status.sessions[0].path.resilience.reset();
  const std::string off = status_to_text(status_to_json(status));
  EXPECT_EQ(off.find("resilience"), off.rfind("resilience   off: "));
}

TEST(StatusText, of_anything_else_does_not_crash) {
  for (const auto text : {"", "[]", "{}", "null", R"({"role":"server","sessions":5})",
                          R"({"role":"server","sessions":[5]})", R"({"counters":[]})",
                          R"({"addresses":"x"})", R"({"role":"client","mtu":"x"})"}) {
    EXPECT_FALSE(status_to_text(text).empty()) << text;
  }
}

TEST(ControlRequests, survive_the_wire) {
  const SessionSetRequest set{.user = "anna",
                              .addresses = std::vector{prefix("10.8.0.9/32")},
                              .routes = std::vector<IpPrefix>{}};
  EXPECT_EQ(to_json(set),
            R"({"command":"session.set","user":"anna","addresses":["10.8.0.9/32"],"routes":[]})");
  const auto parsed = parse_control_request(to_json(set));
  ASSERT_TRUE(parsed) << parsed.error();
  const auto& back = std::get<SessionSetRequest>(*parsed);
  EXPECT_EQ(back.user, "anna");
  EXPECT_EQ(back.addresses, set.addresses);
  EXPECT_EQ(back.routes, set.routes);
  for (const ControlRequest& request :
       {ControlRequest(StatusRequest{}), ControlRequest(SessionKickRequest{"a"}),
        ControlRequest(UserRevokeRequest{"b"}), ControlRequest(UserChangedRequest{"c"}),
        ControlRequest(ReloadRequest{})}) {
    const auto again = parse_control_request(to_json(request));
    ASSERT_TRUE(again);
    EXPECT_EQ(again->index(), request.index());
  }
}

TEST(ControlRequests, of_any_other_form_are_refused) {
  const std::string many = [] {
    std::string list = R"({"command":"session.set","user":"a","routes":[)";
    for (size_t i = 0; i <= kControlPrefixesMax; ++i)
      list += (i == 0 ? "" : ",") + std::string("\"10.0.0.0/8\"");
    return list + "]}";
  }();
  for (const std::string& line :
       {std::string(), std::string("status"), std::string("[]"), std::string("{}"),
        std::string(R"({"command":5})"), std::string(R"({"command":"format.disk"})"),
        std::string(R"({"command":"user.revoke"})"),
        std::string(R"({"command":"user.revoke","user":"../x"})"),
        std::string(R"({"command":"session.set","user":"a"})"),
        std::string(R"({"command":"session.set","user":"a","addresses":[]})"),
        std::string(R"({"command":"session.set","user":"a","addresses":["10.0.0.1/8"]})"),
        std::string(R"({"command":"session.set","user":"a","routes":"10.0.0.0/8"})"), many,
        std::string(R"({"command":"status"} trailing)"), std::string(100'000, '['),
        std::string(60'000, '['), R"({"command":)" + std::string(30'000, '[')}) {
    EXPECT_FALSE(parse_control_request(line)) << line.substr(0, 80);
  }
}

TEST(ControlReplies, carry_status_sessions_or_an_error) {
  const auto ok = parse_control_reply(control_ok());
  EXPECT_TRUE(ok->ok);
  const auto status = parse_control_reply(control_ok(client()));
  EXPECT_EQ(status->status_json, status_to_json(client()));
  EXPECT_EQ(parse_control_reply(control_sessions(2))->sessions, 2u);
  const auto error = parse_control_reply(control_error("no such session: \"x\"", kExitRefused));
  EXPECT_FALSE(error->ok);
  EXPECT_EQ(error->error, "no such session: \"x\"");
  EXPECT_EQ(error->exit_code, kExitRefused);
  EXPECT_EQ(parse_control_reply(R"({"ok":false,"exit_code":0})")->exit_code, 1)
      << "a refusal is never success";
  EXPECT_FALSE(parse_control_reply("junk"));
  EXPECT_FALSE(parse_control_reply("{}"));
}

}  // namespace
}  // namespace masque
