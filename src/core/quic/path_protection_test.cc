// SPDX-License-Identifier: Apache-2.0
// The real protection against the vectors of its standards, and whole path packets as docs/wire.md
// has them, byte for byte.
#include <gtest/gtest.h>

#include <numeric>

#include "core/path/path_receiver.h"
#include "core/path/path_sender.h"
#include "core/quic/path_protection_openssl.h"

namespace masque {
namespace {

using Secret = std::array<uint8_t, PathProtection::kSecretSize>;

// The keys, in their order: mask (16), messages (32), repairs (16), check (16).
std::unique_ptr<PathProtection> with_keys(std::string_view mask, std::string_view seal,
                                          std::string_view tag, std::string_view check = "") {
  Secret secret{};
  const auto put = [&](size_t at, std::string_view hex) {
    std::ranges::copy(*from_hex(hex), secret.begin() + static_cast<ptrdiff_t>(at));
  };
  put(0, mask);
  put(16, seal);
  put(48, tag);
  put(64, check);
  return make_openssl_path_protection(secret);
}

TEST(PathProtection, fips_197_c_1_the_mask_is_aes_128) {
  const auto protection = with_keys("000102030405060708090a0b0c0d0e0f", "", "");
  ASSERT_TRUE(protection);
  const auto sample = *from_hex("00112233445566778899aabbccddeeff");
  std::array<uint8_t, 16> mask;
  for (int i = 0; i < 2; ++i) {  // again: nothing is kept of the first
    protection->mask(Bytes(sample).first<16>(), mask);
    EXPECT_EQ(to_hex(mask), "69c4e0d86a7b0430d8cdb78070b4c55a");
  }
}

TEST(PathProtection, fips_197_c_1_the_check_is_the_front_of_aes_128) {
  const auto protection = with_keys("", "", "", "000102030405060708090a0b0c0d0e0f");
  ASSERT_TRUE(protection);
  const auto block = *from_hex("00112233445566778899aabbccddeeff");
  for (int i = 0; i < 2; ++i) EXPECT_EQ(protection->check(Bytes(block).first<16>()), 0x69c4e0u);
}

// RFC 4493 4, examples 1 to 4, first half of the tag; split at every place.
TEST(PathProtection, rfc4493_4_the_tag_is_aes_cmac) {
  const auto protection = with_keys("", "", "2b7e151628aed2a6abf7158809cf4f3c");
  ASSERT_TRUE(protection);
  const auto message = *from_hex(
      "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
      "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710");
  constexpr std::pair<size_t, uint64_t> kExamples[] = {{0, 0xbb1d6929e9593728},
                                                       {16, 0x070a16b46b4d4144},
                                                       {40, 0xdfa66747de9ae630},
                                                       {64, 0x51f0bebf7e3b9d92}};
  for (const auto& [size, tag] : kExamples) {
    for (size_t split = 0; split <= size; ++split) {
      const Bytes whole = Bytes(message).first(size);
      EXPECT_EQ(protection->tag(whole.first(split), whole.subspan(split)), tag) << size;
    }
  }
}

struct Sealed {
  std::unique_ptr<PathProtection> protection =
      with_keys("", "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", "");
  std::vector<uint8_t> associated = *from_hex("101112131415161718191a1b1c1d1e1f2021222324252627");
  std::vector<uint8_t> plain = *from_hex("112233445566778899aabbccddee");
  std::vector<uint8_t> sealed =
      *from_hex("40c02b9690c4dc04daef7f6afe5c85632d07c6e8f37f950acd320a2ecc93");
};

TEST(PathProtection, rfc5297_a_1_messages_are_sealed_with_aes_siv) {
  Sealed example;
  ASSERT_TRUE(example.protection);
  std::vector<uint8_t> sealed(example.plain.size() + PathProtection::kSealOverhead);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(example.protection->seal(example.associated, example.plain, sealed));
    EXPECT_EQ(to_hex(sealed), to_hex(example.sealed));
  }
  std::vector<uint8_t> plain(example.plain.size());
  ASSERT_TRUE(example.protection->open(example.associated, sealed, plain));
  EXPECT_EQ(plain, example.plain);
}

TEST(PathProtection, every_changed_bit_of_a_message_is_noticed) {
  Sealed example;
  std::vector<uint8_t> plain(example.plain.size());
  for (auto* part : {&example.associated, &example.sealed}) {
    for (size_t bit = 0; bit < 8 * part->size(); ++bit) {
      (*part)[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
      EXPECT_FALSE(example.protection->open(example.associated, example.sealed, plain)) << bit;
      (*part)[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
    }
  }
  EXPECT_TRUE(example.protection->open(example.associated, example.sealed, plain));
}

TEST(PathProtection, sizes_that_do_not_fit_are_refused) {
  Sealed example;
  std::vector<uint8_t> wrong(example.plain.size() + PathProtection::kSealOverhead - 1);
  EXPECT_FALSE(example.protection->seal(example.associated, example.plain, wrong));
  EXPECT_FALSE(example.protection->open(example.associated, example.sealed, wrong));
  EXPECT_FALSE(example.protection->open(
      example.associated, Bytes(example.sealed).first(PathProtection::kSealOverhead), {}));
  EXPECT_EQ(make_openssl_path_protection(Bytes(Secret{}).first(79)), nullptr);
}

// docs/wire.md: the secret is 00 01 .. 4f, the QUIC packet 5a, c0..c7 and a0..b3, the time 1 s.
class PathVectors : public ::testing::Test, public QuicPacketSink {
 protected:
  PathVectors() {
    Secret secret;
    std::iota(secret.begin(), secret.end(), uint8_t{0});
    send = make_openssl_path_protection(secret);
    receive = make_openssl_path_protection(secret);
    std::iota(connection_id.begin(), connection_id.end(), uint8_t{0xc0});
    quic.push_back(0x5a);
    quic.insert(quic.end(), connection_id.begin(), connection_id.end());
    for (uint8_t byte = 0xa0; byte < 0xb4; ++byte) quic.push_back(byte);
  }
  std::vector<uint8_t> wrapped(PathSender& sender) const {
    std::vector<uint8_t> packet(kPathHeaderSize);
    packet.insert(packet.end(), quic.begin(), quic.end());
    sender.wrap(Instant{1s}, TrafficClass::RealTime, packet, quic.size());
    return packet;
  }
  void on_quic_packet(Instant, const PathArrival&, const DatagramOrigin&,
                      MutableBytes packet) override {
    got.assign(packet.begin(), packet.end());
  }
  static PathSettings settings() {
    return {.mode = ResilienceMode::Auto, .code = ErasureCode::Xor};
  }
  std::unique_ptr<PathProtection> send, receive;
  PathId connection_id;
  std::vector<uint8_t> quic, got;
};

constexpr std::string_view kSource =
    "5a9a8c3e2897b77195d985056db8f9bbdc22e9a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3";
constexpr std::string_view kRepair =
    "5c9a8c3e2897b7719506df7e6fb07d7c0aa3bde63759415a00140000007a12a0a1a2a3a4a5a6a7a8a9aaabacad"
    "aeafb0b1b2b39f301f6d9c47df66";
constexpr std::string_view kControl =
    "409a8c3e2897b77195beecfaf742f81962e0b835a0403ef47266c3fbceaa14e851f2e65f1fb72b8ae4";

TEST_F(PathVectors, a_connection_id_in_its_place) {
  EXPECT_EQ(to_hex(path_id_of(*send, connection_id)), "9a8c3e2897b77195");
}

TEST_F(PathVectors, source_repair_and_control) {
  PathSender sender(settings(), *send);
  sender.set_shares({.realtime = 1});
  const auto source = wrapped(sender);
  EXPECT_EQ(to_hex(source), kSource);

  std::vector<uint8_t> room(1500);
  const size_t size = sender.poll_repair(Instant{1s + 8ms}, room);
  EXPECT_EQ(to_hex(Bytes(room).first(size)), kRepair);

  const auto message = *from_hex("02070a0143dd");
  const size_t control = sender.write_control(Instant{1s}, message, room, 0);
  EXPECT_EQ(to_hex(Bytes(room).first(control)), kControl);
}

TEST_F(PathVectors, a_source_is_read) {
  PathReceiver receiver(settings(), *receive);
  auto source = *from_hex(kSource);
  receiver.on_packet(Instant{2s}, {}, source, connection_id, *this);
  EXPECT_EQ(to_hex(got), to_hex(quic));
}

TEST_F(PathVectors, a_repair_alone_brings_back_its_source) {
  PathReceiver receiver(settings(), *receive);
  auto repair = *from_hex(kRepair);
  receiver.on_packet(Instant{2s}, {}, repair, connection_id, *this);
  EXPECT_EQ(to_hex(got), to_hex(quic));
  EXPECT_EQ(receiver.counters().recovered, 1u);
}

TEST_F(PathVectors, a_message_is_read) {
  PathReceiver receiver(settings(), *receive);
  auto control = *from_hex(kControl);
  const auto message = receiver.on_packet(Instant{2s}, {}, control, connection_id, *this);
  ASSERT_TRUE(message);
  EXPECT_EQ(std::get<PathRequest>(*message).count, 3u);
}

// Whoever sees packets and not the keys changes counters only.
TEST_F(PathVectors, repairs_and_messages_with_one_bit_changed_are_not_believed) {
  for (const auto vector : {kRepair, kControl}) {
    const auto whole = *from_hex(vector);
    for (size_t bit = 8 * kPathPrefixSize; bit < 8 * whole.size(); ++bit) {
      PathReceiver receiver(settings(), *receive);
      auto packet = whole;
      packet[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
      EXPECT_FALSE(receiver.on_packet(Instant{2s}, {}, packet, connection_id, *this)) << bit;
      const PathReceiverCounters& seen = receiver.counters();
      EXPECT_EQ(seen.recovered + seen.repairs + seen.sources, 0u) << bit;
      EXPECT_EQ(seen.forged + seen.damaged, 1u) << bit;
    }
  }
}

}  // namespace
}  // namespace masque
