// SPDX-License-Identifier: Apache-2.0
// Client and server transport joined by a lossless wire of 10 ms each way, with real TLS: handshake
// and its refusals, Retry, version negotiation, stateless reset, extended CONNECT, capsule bytes,
// datagrams, closing. The clock is virtual; nothing sleeps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <format>
#include <set>

#include "transport/pair.h"

namespace masque {
namespace {

using ::testing::HasSubstr;

// proves: C1, H8, H11, W1, W2
TEST(Transport, handshake_exchanges_settings_and_post_quantum_keys) {
  Pair pair;
  pair.run();
  EXPECT_TRUE(pair.client->quic().handshake_confirmed());
  EXPECT_TRUE(pair.client->usable()) << pair.client->why_not();
  EXPECT_EQ(pair.server_events.settings, 1);
  EXPECT_THAT(pair.client->quic().cipher(), HasSubstr("X25519MLKEM768"));
  const PeerCertificate peer = pair.server->peer_certificate();
  EXPECT_TRUE(peer.present);
  EXPECT_EQ(peer.common_name, "alice");
  EXPECT_THAT(peer.names, ::testing::ElementsAre("masque-vpn:alice"));
}

TEST(Transport, both_ends_export_the_same_key) {
  Pair pair;
  pair.run();
  std::array<uint8_t, 32> a, b;
  ASSERT_TRUE(pair.client->quic().export_key("EXPORTER-masque-vpn", a));
  ASSERT_TRUE(pair.server->quic().export_key("EXPORTER-masque-vpn", b));
  EXPECT_EQ(a, b);
}

// A large ClientHello spans two Initials; here its halves arrive in the wrong order.
TEST(Transport, second_half_of_the_client_hello_may_come_first) {
  Pair pair;
  pair.flush();
  ASSERT_GE(pair.wire.size(), 2u);
  std::swap(pair.wire[0].bytes, pair.wire[1].bytes);
  pair.run();
  EXPECT_TRUE(pair.client->quic().handshake_confirmed());
  EXPECT_EQ(pair.endpoint->counters().connections_created, 1u);
}

// proves: V1t, V3t
TEST(Transport, retry_proves_the_address_first) {
  Pair pair({.retry = RetryPolicy::Always});
  pair.run();
  EXPECT_TRUE(pair.client->quic().handshake_confirmed());
  EXPECT_GE(pair.endpoint->counters().retries, 1u);
  EXPECT_EQ(pair.endpoint->counters().connections_created, 1u);
}

// proves: V4t
TEST(Transport, a_retry_token_of_another_address_is_refused) {
  Pair pair({.retry = RetryPolicy::Always});
  pair.flush();
  // Steal the first flight with its token and replay it from elsewhere.
  std::vector<std::vector<uint8_t>> with_token;
  pair.drop = [&](bool to_server, Bytes bytes) {
    if (to_server && pair.endpoint->counters().retries > 0)
      with_token.emplace_back(bytes.begin(), bytes.end());
    return to_server && pair.endpoint->counters().retries > 0;
  };
  pair.run(100ms);
  ASSERT_FALSE(with_token.empty());
  NetworkPath elsewhere = kServerPath;
  elsewhere.remote.port = 1;
  for (auto& bytes : with_token)
    pair.endpoint->on_datagram(pair.now, {.path = elsewhere, .bytes = bytes});
  EXPECT_GE(pair.endpoint->counters().bad_tokens, 1u);
  EXPECT_EQ(pair.endpoint->counters().connections_created, 0u);
}

// proves: V5t
TEST(Transport, rfc9000_8_1_2_a_bad_retry_token_is_answered_with_invalid_token) {
  Pair pair({.retry = RetryPolicy::Always});
  bool retried = false, restarted = false;
  pair.drop = [&](bool to_server, Bytes bytes) {
    if (!to_server && (bytes[0] & 0xf0) == 0xf0) retried = true;
    return false;
  };
  pair.before_flush = [&] {
    // The Retry is on its way when the gateway forgets the secret that made its token.
    if (!retried || restarted) return;
    pair.endpoint_options.static_secret.fill(0xa5);
    pair.restart_server();
    restarted = true;
  };
  pair.run();
  ASSERT_TRUE(restarted);
  constexpr uint64_t kInvalidToken = 0x0b;
  ASSERT_TRUE(pair.client->quic().close_reason());
  EXPECT_EQ(pair.client->quic().close_reason()->cause, CloseReason::Cause::Peer);
  EXPECT_EQ(pair.client->quic().close_reason()->code, kInvalidToken);
  EXPECT_GE(pair.endpoint->counters().bad_tokens, 1u);
  EXPECT_EQ(pair.endpoint->counters().connections_created, 0u);
}

// proves: V4t, V6t
TEST(Transport, rfc9000_8_1_3_a_token_of_an_earlier_connection_spares_the_retry) {
  Pair pair({.retry = RetryPolicy::Always});
  pair.run();
  const uint64_t retries = pair.endpoint->counters().retries;
  ASSERT_GE(retries, 1u);
  ASSERT_NE(pair.client->quic().new_token(), "");
  pair.dial();
  pair.run();
  EXPECT_TRUE(pair.client->quic().handshake_confirmed());
  EXPECT_EQ(pair.endpoint->counters().retries, retries);
  EXPECT_EQ(pair.endpoint->counters().connections_created, 2u);
}

// proves: V4tb
TEST(Transport, rfc9000_8_1_4_a_token_is_accepted_once) {
  Pair pair({.retry = RetryPolicy::Always});
  pair.run();
  const uint64_t retries = pair.endpoint->counters().retries;
  const std::string token = pair.newest_token();
  ASSERT_NE(token, "");
  pair.dial_with(token);
  pair.run();
  EXPECT_EQ(pair.endpoint->counters().retries, retries);
  EXPECT_EQ(pair.endpoint->counters().bad_tokens, 0u);
  pair.dial_with(token);
  pair.run();
  EXPECT_TRUE(pair.client->quic().handshake_confirmed());
  EXPECT_GT(pair.endpoint->counters().retries, retries);
  EXPECT_GE(pair.endpoint->counters().bad_tokens, 1u);
}

// proves: V5t
TEST(Transport, rfc9000_8_1_3_an_old_token_counts_as_none) {
  Pair pair({.retry = RetryPolicy::Always});
  pair.run();
  const uint64_t retries = pair.endpoint->counters().retries;
  pair.now += 25h;
  pair.dial();
  pair.run();
  EXPECT_TRUE(pair.client->quic().handshake_confirmed());
  EXPECT_GT(pair.endpoint->counters().retries, retries);
  EXPECT_GE(pair.endpoint->counters().bad_tokens, 1u);
}

// proves: V1t
TEST(Transport, a_silent_address_gets_at_most_three_times_its_bytes) {
  Pair pair;
  pair.flush();
  pair.drop = [&](bool to_server, Bytes) { return to_server; };
  pair.run(30s);
  EXPECT_GT(pair.bytes_to_client, 0u);
  EXPECT_LE(pair.bytes_to_client, 3 * pair.bytes_to_server);
}

// proves: V1t
TEST(Transport, rfc9000_8_1_copies_count_for_an_address_that_is_not_proved) {
  Pair pair({.quic = {.path_layer = QuicSettings::PathLayerUse::Wanted}});
  std::set<std::vector<uint8_t>> sent;
  size_t copies = 0;
  pair.flush();
  pair.drop = [&](bool to_server, Bytes bytes) {
    if (!to_server && !sent.emplace(bytes.begin(), bytes.end()).second) ++copies;
    return to_server;
  };
  pair.run(30s);
  EXPECT_GT(copies, 0u);
  EXPECT_LE(pair.bytes_to_client, 3 * pair.bytes_to_server);
}

// A handshake that loses any one datagram ends as soon as without, and no controller takes it for
// congestion.
TEST(Transport, a_handshake_does_without_any_one_datagram) {
  constexpr uint64_t kInitialWindow = 14720;  // RFC 9002 7.2
  for (const bool of_client : {true, false}) {
    for (int lost = 0; lost < 4; ++lost) {
      Pair pair({.quic = {.path_layer = QuicSettings::PathLayerUse::Wanted}});
      int count = 0;
      pair.drop = [&](bool to_server, Bytes) { return to_server == of_client && count++ == lost; };
      pair.run(300ms);
      ASSERT_GT(count, lost);
      const auto what =
          std::format("without datagram {} of the {}", lost, of_client ? "client" : "server");
      EXPECT_TRUE(pair.client->quic().handshake_confirmed()) << what;
      EXPECT_GE(pair.client->quic().stats().congestion_window, kInitialWindow) << what;
      ASSERT_NE(pair.server, nullptr) << what;
      EXPECT_GE(pair.server->quic().stats().congestion_window, kInitialWindow) << what;
    }
  }
}

// proves: VN1
TEST(Transport, unknown_version_is_negotiated_only_for_full_datagrams) {
  Pair pair;
  std::vector<uint8_t> initial(1200, 0);
  initial[0] = 0xc0;
  store_be32(&initial[1], 0x1a2a3a4a);
  initial[5] = 8;
  pair.endpoint->on_datagram(pair.now, {.path = kServerPath, .bytes = initial});
  EXPECT_EQ(pair.endpoint->counters().version_negotiations, 1u);
  pair.endpoint->on_datagram(pair.now,
                             {.path = kServerPath, .bytes = MutableBytes(initial).first(1199)});
  EXPECT_EQ(pair.endpoint->counters().version_negotiations, 1u);
}

// proves: I4, I5, I6
TEST(Transport, a_restarted_server_resets_old_connections) {
  Pair pair;
  pair.run();
  pair.restart_server();  // same static secret, no connections
  const auto stream = pair.connect();
  ASSERT_TRUE(stream);
  pair.run();
  ASSERT_TRUE(pair.client->quic().close_reason());
  EXPECT_EQ(pair.client->quic().close_reason()->cause, CloseReason::Cause::StatelessReset);
}

// proves: I4
TEST(Transport, stateless_reset_is_smaller_than_its_cause_and_rate_limited) {
  Pair pair;
  std::vector<uint8_t> stray(60, 0x40);
  for (int i = 0; i < 500; ++i)
    pair.endpoint->on_datagram(pair.now, {.path = kServerPath, .bytes = stray});
  EXPECT_EQ(pair.endpoint->counters().stateless_resets,
            pair.endpoint_options.stateless_resets_per_second);
  pair.endpoint->poll_transmit(pair.now, pair.batch);
  for (const TransmitRun& run : pair.batch.runs()) EXPECT_LT(run.segment_size, stray.size());
  pair.batch.clear();
}

struct Refusal {
  const char* name;
  std::function<void(PairOptions&)> arrange;
  const char* text;  // in the client's or server's reason
  CertificateFault fault;
};

// proves: W12, Q7
TEST(Transport, tls_refuses_wrong_peers_with_a_reason) {
  static const testing::TestCa stranger("another CA"), namesake;
  const Refusal cases[] = {
      {"wrong name", [](PairOptions& o) { o.server_identity = ca().server("other.example"); },
       "hostname mismatch", CertificateFault::OtherName},
      {"expired",
       [](PairOptions& o) {
         o.server_identity = ca().issue("vpn.example", "DNS:vpn.example", "serverAuth", -1);
       },
       "expired", CertificateFault::Expired},
      {"other CA", [](PairOptions& o) { o.server_identity = stranger.server("vpn.example"); },
       "unable to get local issuer", CertificateFault::Untrusted},
      {"other CA of that name",
       [](PairOptions& o) { o.server_identity = namesake.server("vpn.example"); },
       "signature failure", CertificateFault::Untrusted},
      {"signed by itself", [](PairOptions& o) { o.server_identity = stranger.itself(); },
       "self-signed", CertificateFault::Untrusted},
      {"server certificate of a client",
       [](PairOptions& o) {
         o.server_identity = ca().issue("vpn.example", "DNS:vpn.example", "clientAuth");
       },
       "purpose", CertificateFault::Other},
  };
  for (const Refusal& refusal : cases) {
    SCOPED_TRACE(refusal.name);
    PairOptions options;
    refusal.arrange(options);
    Pair pair(options);
    pair.run();
    ASSERT_TRUE(pair.client->quic().close_reason());
    EXPECT_EQ(pair.client->quic().close_reason()->cause, CloseReason::Cause::Tls);
    EXPECT_THAT(pair.client->quic().close_reason()->text, HasSubstr(refusal.text));
    EXPECT_EQ(pair.client->quic().close_reason()->certificate, refusal.fault);
  }
}

// proves: Z1
TEST(Transport, the_server_refuses_wrong_client_certificates) {
  static const testing::TestCa stranger("another CA");
  const std::pair<const char*, testing::Identity> cases[] = {
      {"none", {}},
      {"other CA", stranger.client("alice")},
      {"expired", ca().issue("alice", "", "clientAuth", -1)},
      {"wrong usage", ca().issue("alice", "", "serverAuth")},
  };
  for (const auto& [name, identity] : cases) {
    SCOPED_TRACE(name);
    PairOptions options;
    options.client_identity = identity;
    Pair pair(options);
    pair.run();
    ASSERT_TRUE(pair.client->quic().close_reason());
    EXPECT_EQ(pair.server_events.settings, 0);
    EXPECT_FALSE(pair.client->usable());
  }
}

// proves: Q2, Q3, Q4, Q6, H12, H15, C3, C4
TEST(Transport, extended_connect_carries_capsules_both_ways) {
  Pair pair;
  pair.run();
  const auto stream = pair.connect();
  ASSERT_TRUE(stream);
  pair.run();
  EXPECT_EQ(find_field(pair.server_events.request, ":protocol"), "connect-ip");
  EXPECT_EQ(find_field(pair.client_events.response, ":status"), "200");
  EXPECT_FALSE(pair.client_events.response_fin);
  const std::string large(100'000, 'x');
  EXPECT_TRUE(pair.client->send_stream_data(*stream, as_bytes(large)));
  EXPECT_TRUE(pair.server->send_stream_data(*stream, as_bytes("pong")));
  pair.run();
  EXPECT_EQ(pair.server_events.stream_bytes, large);
  EXPECT_EQ(pair.client_events.stream_bytes, "pong");
  pair.client->finish_stream(*stream);
  pair.run();
  EXPECT_TRUE(pair.server_events.fin);
}

// proves: H2, D1, G5
TEST(Transport, datagrams_carry_quarter_stream_id_and_context_zero) {
  Pair pair;
  pair.run();
  const auto stream = pair.connect();
  pair.run();
  EXPECT_EQ(pair.send_packet(*pair.client, *stream, "up"), SendResult::Sent);
  EXPECT_EQ(pair.send_packet(*pair.server, *stream, "down"), SendResult::Sent);
  pair.run();
  using namespace std::string_literals;
  EXPECT_THAT(pair.server_events.datagrams, ::testing::ElementsAre("\0up"s));
  EXPECT_THAT(pair.client_events.datagrams, ::testing::ElementsAre("\0down"s));
}

// proves: G6, F1
TEST(Transport, a_datagram_leaves_and_arrives_at_once) {
  Pair pair;
  pair.run();
  const auto stream = pair.connect();
  pair.run();
  const size_t before = pair.wire.size();
  EXPECT_EQ(pair.send_packet(*pair.client, *stream, "x"), SendResult::Sent);
  EXPECT_EQ(pair.wire.size(), before + 1);
  pair.run(kOneWay);
  EXPECT_EQ(pair.server_events.datagrams.size(), 1u);
}

// The congestion window is never enough for the datagrams, and a capsule comes late.
// proves: G12
TEST(Transport, rfc9221_5_datagrams_and_streams_have_priorities) {
  for (const SendPriority priority : {SendPriority::StreamsFirst, SendPriority::DatagramsFirst}) {
    Pair pair;
    pair.run();
    const StreamId stream = *pair.connect();
    pair.run();
    pair.client->quic().set_priority(priority);
    const std::string packet(1000, 'x');
    pair.before_flush = [&] {
      while (pair.send_packet(*pair.client, stream, packet) == SendResult::Sent) {
      }
    };
    pair.run(30ms);
    ASSERT_TRUE(pair.client->send_stream_data(stream, as_bytes("capsule")));
    const size_t datagrams_before = pair.server_events.datagrams.size();
    pair.run(60ms);
    EXPECT_GT(pair.server_events.datagrams.size(), datagrams_before);
    const bool arrived = pair.server_events.stream_bytes == "capsule";
    EXPECT_EQ(arrived, priority == SendPriority::StreamsFirst);
    pair.before_flush = {};
    pair.run();
    EXPECT_EQ(pair.server_events.stream_bytes, "capsule") << "later, but whole";
  }
}

// proves: N1, N3, N5
TEST(Transport, connection_ids_are_random_and_never_issued_twice) {
  struct Ids : ConnectionIdRegistry {
    void add_connection_id(const ConnectionId& id) override { issued.push_back(id); }
    void remove_connection_id(const ConnectionId&) override {}
    std::vector<ConnectionId> issued;
  } ids;
  Pair pair;
  for (int dial = 0; dial < 3; ++dial) {
    if (dial > 0) pair.dial();
    pair.client->quic().set_registry(&ids);
    const size_t before = ids.issued.size();
    pair.run();
    EXPECT_GE(ids.issued.size() - before, 2u);  // the peer has unused ones at hand
    pair.client->quic().set_registry(nullptr);
  }
  for (const ConnectionId& id : ids.issued) EXPECT_EQ(id.size(), kConnectionIdLength);
  std::ranges::sort(ids.issued);
  EXPECT_EQ(std::ranges::adjacent_find(ids.issued), ids.issued.end());
}

// proves: H6
TEST(Transport, datagrams_before_the_answer_wait_in_a_bounded_buffer) {
  Pair pair;
  pair.run();
  const auto stream = pair.connect();
  // The datagrams overtake the request.
  pair.client->quic().set_priority(SendPriority::DatagramsFirst);
  for (int i = 0; i < 40; ++i) pair.send_packet(*pair.client, *stream, "early");
  pair.run();
  EXPECT_EQ(pair.server_events.datagrams.size(), Http3Limits{}.early_datagrams_max);
}

// proves: H6
TEST(Transport, rfc9297_2_1_datagrams_of_a_stream_that_never_opened_go_and_leave_room) {
  Pair pair;
  pair.run();
  const auto lost = pair.connect();
  pair.client->quic().set_priority(SendPriority::DatagramsFirst);
  pair.drop = [](bool to_server, Bytes bytes) { return to_server && bytes.size() > 70; };
  for (int i = 0; i < 40; ++i) pair.send_packet(*pair.client, *lost, "lost");
  pair.run(15ms);
  pair.drop = nullptr;
  pair.server_events.enable = false;
  pair.run(200ms);
  ASSERT_EQ(pair.server_events.stream, lost);
  EXPECT_TRUE(pair.server_events.datagrams.empty());
  // The answer took too long for those; later ones have their places.
  pair.send_packet(*pair.client, *lost, "late");
  pair.run(15ms);
  pair.server->enable_datagrams(pair.now, *lost);
  EXPECT_THAT(pair.server_events.datagrams, ::testing::ElementsAre(::testing::EndsWith("late")));
}

// proves: H6
TEST(Transport, rfc9297_2_1_a_decision_that_takes_long_is_not_waited_for) {
  Pair pair;
  pair.run();
  pair.server_events.enable = false;
  const auto stream = pair.connect();
  pair.run(15ms);
  pair.send_packet(*pair.client, *stream, "early");
  pair.run(15ms);
  // Nothing is received meanwhile: the time is that of the decision.
  pair.server->enable_datagrams(pair.now + 8s, *stream);
  EXPECT_TRUE(pair.server_events.datagrams.empty());
}

// proves: H4, H5
TEST(Transport, no_datagram_after_the_stream_has_ended) {
  Pair pair;
  pair.run();
  const auto stream = pair.connect();
  pair.run();
  pair.client->finish_stream(*stream);
  EXPECT_EQ(pair.send_packet(*pair.client, *stream, "late"), SendResult::Closed);
  pair.client->abort_stream(*stream, HttpError::RequestCancelled);
  EXPECT_EQ(pair.send_packet(*pair.server, *stream, "late"), SendResult::Sent);
  pair.run();
  EXPECT_TRUE(pair.client_events.datagrams.empty());
  EXPECT_THAT(pair.server_events.closed,
              ::testing::ElementsAre(static_cast<uint64_t>(HttpError::RequestCancelled)));
}

// proves: U5, G8, J2
TEST(Transport, the_packet_budget_follows_the_path) {
  Pair pair;
  pair.run();
  const auto stream = pair.connect();
  pair.run();
  // 1472 found by the search: minus 1 flags, 8 connection ID, 4 number, 16 tag, 3 frame, 2 ids.
  EXPECT_EQ(pair.client->packet_size_max(*stream), 1438u);
  const std::string fits(1438, 'a');
  EXPECT_EQ(pair.send_packet(*pair.client, *stream, fits), SendResult::Sent);
  EXPECT_EQ(pair.send_packet(*pair.client, *stream, fits + "a"), SendResult::TooLarge);
}

// proves: J1
TEST(Transport, a_path_of_1200_bytes_gives_the_least_budget) {
  Pair pair;
  pair.drop = [](bool, Bytes bytes) { return bytes.size() > 1200; };
  pair.run(20s);
  const auto stream = pair.connect();
  pair.run();
  EXPECT_EQ(pair.client->packet_size_max(*stream), 1166u);
}

TEST(Transport, a_slow_first_round_trip_does_not_hold_packets_back_for_long) {
  Pair pair;
  pair.one_way = 900ms;  // the first flight waits for a neighbour, a radio, a server to wake
  pair.run(1ms);
  pair.one_way = 1ms;
  pair.run(2s);
  const auto stream = pair.connect();
  pair.run(100ms);
  size_t sent = 0;
  for (int i = 0; i < 200 && sent < 500; ++i) {
    while (pair.send_packet(*pair.client, *stream, std::string(1000, 'a')) == SendResult::Sent)
      ++sent;
    pair.run(1ms);
  }
  // A window of ten packets each round trip of 2 ms would be 1,000. A pacer that believed in 900 ms
  // let through ten in half a second.
  EXPECT_GE(sent, 500u);
}

// proves: W8
TEST(Transport, goaway_forbids_new_requests_and_keeps_old_ones) {
  Pair pair;
  pair.run();
  const auto stream = pair.connect();
  pair.run();
  pair.server->send_goaway();
  pair.run();
  pair.server->send_goaway();
  pair.run();
  EXPECT_THAT(pair.client_events.goaways, ::testing::ElementsAre((uint64_t{1} << 62) - 4, 4u));
  EXPECT_FALSE(pair.connect());
  EXPECT_EQ(pair.send_packet(*pair.client, *stream, "still"), SendResult::Sent);
  pair.run();
  EXPECT_EQ(pair.server_events.datagrams.size(), 1u);
}

TEST(Transport, closing_tells_the_peer_at_once) {
  Pair pair;
  pair.run();
  pair.server->close(pair.now, HttpError::NoError, "bye");
  pair.run(50ms);
  ASSERT_TRUE(pair.client->quic().close_reason());
  EXPECT_EQ(pair.client->quic().close_reason()->cause, CloseReason::Cause::Peer);
  EXPECT_EQ(pair.client->quic().close_reason()->text, "bye");
  pair.run(10s);
  EXPECT_TRUE(pair.client->quic().dead());
  EXPECT_TRUE(pair.endpoint->idle());
}

// proves: I3
TEST(Transport, rfc9000_10_2_2_nothing_is_sent_while_draining) {
  Pair pair;
  pair.run();
  const StreamId stream = *pair.connect();
  std::vector<std::vector<uint8_t>> earlier;
  pair.drop = [&](bool to_server, Bytes bytes) {
    if (!to_server) earlier.emplace_back(bytes.begin(), bytes.end());
    return false;
  };
  pair.run();
  pair.server->close(pair.now, HttpError::NoError, "bye");
  pair.run(15ms);
  ASSERT_TRUE(pair.client->quic().close_reason());
  ASSERT_FALSE(pair.client->quic().dead());
  size_t sent = 0;
  pair.drop = [&](bool to_server, Bytes) {
    sent += to_server ? 1 : 0;
    return false;
  };
  // Whatever comes and whatever is wanted: packets of before, the close again, bytes to send.
  for (auto& bytes : earlier) {
    pair.client->on_datagram(pair.now, {.path = kClientPath, .ecn = Ecn::NotEct, .bytes = bytes});
    pair.flush();
  }
  EXPECT_NE(pair.send_packet(*pair.client, stream, "x"), SendResult::Sent);
  pair.client->send_stream_data(stream, as_bytes("capsule"));
  pair.client->close(pair.now, HttpError::NoError, "me too");
  pair.flush();
  const Instant begun = pair.now;
  while (!pair.client->quic().dead() && pair.now < begun + 10s) pair.run(10ms);
  EXPECT_TRUE(pair.client->quic().dead());
  EXPECT_GE(pair.now - begun, 3 * 20ms) << "three probe timeouts";
  EXPECT_EQ(sent, 0u);
}

// proves: I1, I2
TEST(Transport, keep_alive_holds_an_idle_connection_and_silence_ends_it) {
  Pair pair;
  pair.run(300s);
  EXPECT_FALSE(pair.client->quic().closing());
  pair.drop = [](bool, Bytes) { return true; };
  pair.run(120s);
  EXPECT_TRUE(pair.client->quic().dead());
  EXPECT_EQ(pair.client->quic().close_reason()->cause, CloseReason::Cause::IdleTimeout);
  EXPECT_TRUE(pair.endpoint->idle());
}

TEST(Transport, key_update_keeps_the_session) {
  Pair pair;
  pair.run();
  const auto stream = pair.connect();
  pair.run();
  for (int i = 0; i < 5; ++i) {
    pair.client->quic().initiate_key_update(pair.now);
    EXPECT_EQ(pair.send_packet(*pair.client, *stream, "x"), SendResult::Sent);
    pair.run();
  }
  EXPECT_EQ(pair.server_events.datagrams.size(), 5u);
}

TEST(Transport, refusal_ends_the_stream_but_not_the_connection) {
  Pair pair;
  pair.server_events.accept = false;
  pair.run();
  pair.connect();
  pair.run();
  EXPECT_EQ(find_field(pair.client_events.response, ":status"), "403");
  EXPECT_TRUE(pair.client_events.response_fin);
  EXPECT_FALSE(pair.client->quic().closing());
}

}  // namespace
}  // namespace masque
