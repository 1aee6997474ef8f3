// SPDX-License-Identifier: Apache-2.0
// Packets that are protected as they should be and say what they must not: what our QUIC end does
// with them, and what it sends to a peer that allows less than usual.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "transport/lying_tls.h"
#include "transport/pair.h"

namespace masque {
namespace {

// RFC 9000 20.1.
constexpr uint64_t kStreamLimitError = 0x04;
constexpr uint64_t kProtocolViolation = 0x0a;

void expect_transport_error(const QuicConnection& quic, CloseReason::Cause cause, uint64_t code) {
  ASSERT_TRUE(quic.close_reason());
  EXPECT_EQ(quic.close_reason()->cause, cause);
  EXPECT_FALSE(quic.close_reason()->application);
  EXPECT_EQ(quic.close_reason()->code, code) << quic.close_reason()->text;
}

void overwrite(MutableBytes frames, std::string_view with) {
  const auto bytes = from_hex(with).value();
  ASSERT_GE(frames.size(), bytes.size());
  std::ranges::fill(frames, uint8_t{0});  // PADDING
  std::ranges::copy(bytes, frames.begin());
}

// proves: G7
TEST(IllegalFrames, rfc9221_5_no_datagram_frame_leaves_under_keys_of_the_handshake) {
  const auto lie = std::make_shared<Lie>();
  const std::string marker = "what an IP packet would hold";
  size_t early = 0, late = 0;
  lie->rewrite = [&](Bytes header, MutableBytes frames) {
    if (as_text(frames).find(marker) == std::string_view::npos) return;
    ++(is_short(header) ? late : early);
  };
  Pair pair({.wrap_client = lying(lie)});
  std::optional<StreamId> stream;
  size_t tries = 0;
  pair.before_flush = [&] {
    if (!stream) stream = pair.connect();
    ++tries;
    pair.send_packet(*pair.client, stream.value_or(StreamId(0)), marker);
    const std::string frame = std::string(2, '\0') + marker;
    pair.client->quic().send_datagram(pair.now, as_bytes(frame), {.head = {}, .body = {}},
                                      TrafficClass::Bulk, pair.batch);
    pair.send(true);
  };
  pair.run(60ms);
  EXPECT_TRUE(pair.client->quic().handshake_completed());
  EXPECT_GE(tries, 3u);
  EXPECT_EQ(early, 0u);
  EXPECT_GT(late, 0u);
}

// proves: G7
TEST(IllegalFrames, rfc9221_5_a_datagram_frame_under_handshake_keys_is_not_taken) {
  // In an Initial, which anybody can make, the packet is dropped: what it held comes again.
  // In a Handshake packet the peer is to blame.
  const auto is_second_initial = [initials = 0](Bytes header) mutable {
    return is_initial(header) && ++initials == 2;
  };
  const std::pair<std::function<bool(Bytes)>, bool> cases[] = {{is_second_initial, false},
                                                               {is_handshake, true}};
  for (const auto& [chosen, closes] : cases) {
    const auto lie = std::make_shared<Lie>();
    bool told = false;
    lie->rewrite = [&told, &chosen](Bytes header, MutableBytes frames) {
      if (told || !chosen(header)) return;
      overwrite(frames, "31 03 00 00 45");
      told = true;
    };
    Pair pair({.wrap_client = lying(lie)});
    pair.run();
    EXPECT_TRUE(told);
    EXPECT_TRUE(pair.server_events.datagrams.empty());
    if (closes) {
      expect_transport_error(pair.client->quic(), CloseReason::Cause::Peer, kProtocolViolation);
    } else {
      EXPECT_TRUE(pair.client->quic().handshake_confirmed());
    }
  }
}

// proves: G3
TEST(IllegalFrames, rfc9221_3_a_datagram_frame_larger_than_announced_ends_the_connection) {
  const auto lie = std::make_shared<Lie>();
  lie->parameters = [](ngtcp2_transport_params& parameters) {
    parameters.max_datagram_frame_size = 1000;
  };
  bool on = false;
  lie->rewrite = [&on](Bytes header, MutableBytes frames) {
    if (!on || !is_short(header) || frames.size() < 1010) return;
    overwrite(frames, "31 43e9 00 00 45");  // 1001 bytes
    on = false;
  };
  Pair pair({.wrap_client = lying(lie), .wrap_server = lying(lie)});
  pair.run();
  const auto stream = pair.connect();
  pair.run();
  ASSERT_TRUE(stream);
  on = true;
  EXPECT_TRUE(pair.client->send_stream_data(*stream, as_bytes(std::string(3000, 'x'))));
  pair.run();
  EXPECT_FALSE(on);
  EXPECT_TRUE(pair.server_events.datagrams.empty());
  expect_transport_error(pair.client->quic(), CloseReason::Cause::Peer, kProtocolViolation);
}

// proves: W4
TEST(IllegalFrames, rfc9114_6_1_a_request_stream_of_the_server_ends_the_connection) {
  const auto lie = std::make_shared<Lie>();
  bool on = false;
  lie->rewrite = [&on](Bytes header, MutableBytes frames) {
    if (!on || !is_short(header) || frames.size() < 20) return;
    overwrite(frames, "0a 01 02 00 00");  // STREAM 1: the server's first bidirectional one
    on = false;
  };
  Pair pair({.wrap_server = lying(lie)});
  pair.run();
  const auto stream = pair.connect();
  pair.run();
  ASSERT_TRUE(stream);
  on = true;
  EXPECT_EQ(pair.send_packet(*pair.server, *stream, std::string(100, 'x')), SendResult::Sent);
  pair.run();
  EXPECT_FALSE(on);
  // None are allowed, so QUIC notices before HTTP/3 would (H3_STREAM_CREATION_ERROR).
  expect_transport_error(pair.client->quic(), CloseReason::Cause::Transport, kStreamLimitError);
  EXPECT_TRUE(pair.client_events.datagrams.empty());
}

// proves: G2
TEST(IllegalFrames, rfc9221_3_nothing_larger_than_the_peer_takes_is_sent) {
  const auto lie = std::make_shared<Lie>();
  lie->parameters = [](ngtcp2_transport_params& parameters) {
    parameters.max_datagram_frame_size = 1000;
  };
  Pair pair({.wrap_server = lying(lie)});
  pair.run();
  const auto stream = pair.connect();
  pair.run();
  ASSERT_TRUE(stream);
  // The whole frame counts: type, length in two bytes, stream, context; some slack is left besides.
  const size_t most = pair.client->packet_size_max(*stream);
  EXPECT_LE(most, 995u);
  EXPECT_GE(most, 980u);
  EXPECT_EQ(pair.send_packet(*pair.client, *stream, std::string(most, 'x')), SendResult::Sent);
  EXPECT_EQ(pair.send_packet(*pair.client, *stream, std::string(most + 1, 'x')),
            SendResult::TooLarge);
  pair.run();
  EXPECT_EQ(pair.server_events.datagrams.size(), 1u);
  EXPECT_FALSE(pair.client->quic().close_reason());
}

// proves: G2
TEST(IllegalFrames, rfc9221_3_a_peer_without_datagrams_gets_none) {
  const auto lie = std::make_shared<Lie>();
  lie->parameters = [](ngtcp2_transport_params& parameters) {
    parameters.max_datagram_frame_size = 0;
  };
  Pair pair({.wrap_server = lying(lie)});
  // Nor before the limit is known.
  EXPECT_FALSE(pair.client->quic().datagrams_negotiated());
  TransmitBatch batch;
  const std::vector<uint8_t> frame = {0, 0, 0x45};
  EXPECT_NE(pair.client->quic().send_datagram(pair.now, frame, {.head = {}, .body = {}},
                                              TrafficClass::Bulk, batch),
            SendResult::Sent);
  pair.run();
  EXPECT_TRUE(pair.client->quic().handshake_confirmed());
  EXPECT_FALSE(pair.client->quic().datagrams_negotiated());
  EXPECT_EQ(pair.client->quic().datagram_size_max(), 0u);
  EXPECT_FALSE(pair.client->usable());
}

// Protocol vectors 15.3: DATAGRAM without and with its length, stream 44, context 0.
// proves: G5, H2
TEST(IllegalFrames, rfc9221_4_both_forms_of_the_frame_are_read) {
  const auto lan_packet =
      from_hex("45000020 00004000 4011 4e87 c000020b c6336407 9c400035000c0000 61626364").value();
  auto without = from_hex("30 0b 00").value();
  auto with = from_hex("31 22 0b 00").value();
  std::vector<uint8_t> payload = {0};
  for (auto* frame : {&without, &with, &payload})
    frame->insert(frame->end(), lan_packet.begin(), lan_packet.end());
  ASSERT_EQ(without.size(), 35u);
  ASSERT_EQ(with.size(), 36u);
  for (const auto& frame : {without, with}) {
    const auto lie = std::make_shared<Lie>();
    bool on = false;
    lie->rewrite = [&](Bytes header, MutableBytes frames) {
      if (!on || !is_short(header) || frames.size() < 50) return;
      // At the end, after padding: without a length the data runs to the end of the packet.
      std::ranges::fill(frames, uint8_t{0});
      std::ranges::copy(frame, frames.last(frame.size()).begin());
      on = false;
    };
    Pair pair({.wrap_client = lying(lie)});
    pair.run();
    StreamId stream(0);
    for (int i = 0; i < 12; ++i) stream = *pair.connect();
    ASSERT_EQ(stream.value(), 44u);
    pair.run();
    on = true;
    EXPECT_EQ(pair.send_packet(*pair.client, stream, std::string(100, 'x')), SendResult::Sent);
    pair.run();
    EXPECT_FALSE(on);
    EXPECT_THAT(pair.server_events.datagrams, ::testing::ElementsAre(as_text(payload)));
  }
}

// proves: G11
TEST(IllegalFrames, rfc9221_5_4_datagrams_obey_congestion_control) {
  Pair pair;
  pair.run();
  const StreamId stream = *pair.connect();
  pair.run();
  const size_t before = pair.wire.size();
  EXPECT_EQ(before, 0u);
  const uint64_t window = pair.client->quic().stats().congestion_window;
  size_t sent = 0;
  while (pair.send_packet(*pair.client, stream, std::string(1000, 'x')) == SendResult::Sent) ++sent;
  EXPECT_GT(sent, 0u);
  // In flight at once: a window at most, pacing may stop it earlier.
  const auto in_flight = [&] {
    size_t bytes = 0;
    for (const Pair::Packet& packet : pair.wire)
      bytes += packet.to_server ? packet.bytes.size() : 0;
    return bytes;
  };
  EXPECT_LE(in_flight(), window);
  // Without acknowledgements nothing more than a window ever leaves, however long we try, but for
  // two probes of each probe timeout (RFC 9002 6.2.4).
  pair.drop = [](bool to_server, Bytes) { return !to_server; };
  size_t rounds = 0;
  pair.before_flush = [&] {
    while (++rounds < 100'000 &&
           pair.send_packet(*pair.client, stream, std::string(1000, 'x')) == SendResult::Sent)
      ++sent;
  };
  pair.run(40ms);
  EXPECT_LE(sent * 1000, window);
}

}  // namespace
}  // namespace masque
