// SPDX-License-Identifier: Apache-2.0
// The path receiver under a peer that has the keys and means ill: packets with valid masks, tags
// and seals around anything, and packets of a real sender that are lost, doubled, reordered and
// damaged. Memory stays bounded, and nothing keeps waiting when nothing can come.
#include "core/path/path_receiver.h"
#include "core/path/path_sender.h"
#include "core/quic/null_path_protection.h"
#include "tests/fuzz/fuzz_input.h"

using namespace masque;

namespace {

constexpr std::array<uint8_t, 8> kQuicId = {1, 2, 3, 4, 5, 6, 7, 8};
constexpr size_t kFront = kPathPrefixSize + kPathHeaderSize;

class Sink : public QuicPacketSink {
 public:
  void on_quic_packet(Instant, const PathArrival&, const DatagramOrigin&,
                      MutableBytes packet) override {
    MASQUE_ASSERT(packet.size() >= kPathPrefixSize);
    MASQUE_ASSERT(packet.size() <= PathReceiver::kPacketMax);
    MASQUE_ASSERT(std::ranges::equal(packet.subspan(1, kPathIdLength), kQuicId));
    ++packets;
  }
  uint64_t packets = 0;
};

class Run {
 public:
  explicit Run(FuzzInput& in)
      : in_(in),
        settings_{.mode = ResilienceMode::Auto,
                  .code = static_cast<ErasureCode>(1 + in.u8() % 3),
                  .hold_max = Duration(1ms) * (in.u8() % 200)},
        sender_(settings_, *send_keys_),
        receiver_(settings_, *receive_keys_) {
    receiver_.set_rtt(Duration(1ms) * in.u8());
    const uint8_t shares = in.u8();
    sender_.set_shares({.bulk = (shares & 15) / 15.0, .realtime = (shares >> 4) / 15.0});
  }

  void step() {
    const uint8_t operation = in_.u8();
    switch (operation % 6) {
      case 0:
        send_source(operation);
        break;
      case 1:
        arrive(made_packet(operation));
        break;
      case 2: {
        room_.fill(0);
        const size_t size = sender_.poll_repair(now_, room_);
        if (size > 0 && (operation & 0x80) == 0) arrive(MutableBytes(room_).first(size));
        break;
      }
      case 3:
        advance();
        break;
      case 4: {  // raw bytes
        const Bytes raw = in_.take(in_.u8());
        std::ranges::copy(raw, room_.begin());
        arrive(MutableBytes(room_).first(raw.size()));
        break;
      }
      default:
        if (const auto request = receiver_.make_request(now_)) {
          MASQUE_ASSERT(request->count > 0 && request->count <= PathRequest::kSequencesMax);
          const size_t size = sender_.resend(now_, request->sequences[0], room_);
          if (size > 0) arrive(MutableBytes(room_).first(size));
        }
        if (receiver_.report_due(now_)) check_report();
        break;
    }
  }

  // What is held goes at last.
  void finish() {
    for (int i = 0; i < 4; ++i) {
      now_ += 1s;
      receiver_.on_timeout(now_, sink_);
    }
    MASQUE_ASSERT(!receiver_.next_timeout(now_));
    const PathReceiverCounters& seen = receiver_.counters();
    MASQUE_ASSERT(sink_.packets <= seen.sources + seen.recovered + seen.late);
    check_report();
  }

 private:
  void send_source(uint8_t operation) {
    const size_t length = kPathPrefixSize + PathProtection::kSampleSize + in_.u8() % 64;
    room_.fill(operation);
    std::ranges::copy(kQuicId, room_.begin() + kPathHeaderSize + 1);
    room_[kPathHeaderSize] = 0x40;
    sender_.wrap(now_, (operation & 0x80) != 0 ? TrafficClass::RealTime : TrafficClass::Bulk, room_,
                 length);
    const MutableBytes packet = MutableBytes(room_).first(length + kPathHeaderSize);
    if ((operation & 0x40) != 0) return;  // lost
    if ((operation & 0x20) != 0) packet[in_.u8() % packet.size()] ^= in_.u8();
    const auto copy = room_;
    arrive(packet);
    if ((operation & 0x10) != 0) {
      room_ = copy;
      arrive(packet);
    }
  }

  // Any header around any content, sealed and masked as by the peer.
  MutableBytes made_packet(uint8_t operation) {
    const auto kind = static_cast<PathPacketKind>(operation >> 6);
    room_[0] = 0x40;
    const uint32_t far = (operation & 0x20) != 0 ? in_.u32() : in_.u8();
    const PathHeader header{.kind = kind,
                            .coded = (operation & 0x10) != 0,
                            .sequence = sender_.next_sequence() + far,
                            .symbol = in_.u8(),
                            .stamp = (PathStamp::of(now_) - in_.u16()) % PathStamp::kModulus};
    size_t size = kFront;
    if (kind == PathPacketKind::Repair) {
      const RepairParameters parameters{.code = static_cast<ErasureCode>(1 + in_.u8() % 3),
                                        .traffic_class = static_cast<TrafficClass>(in_.u8() & 1),
                                        .count = in_.u8(),
                                        .key = in_.u16()};
      const auto written = MutableBytes(room_).subspan<kFront, kRepairParametersSize>();
      write_repair_parameters(parameters, written);
      const Bytes symbol = in_.take(in_.u8());
      size += kRepairParametersSize;
      std::ranges::copy(symbol, room_.begin() + static_cast<ptrdiff_t>(size));
      const uint64_t tag = send_keys_->tag(bound_repair(header, written), symbol);
      size += symbol.size();
      store_be32(&room_[size], static_cast<uint32_t>(tag >> 32));
      store_be32(&room_[size + 4], static_cast<uint32_t>(tag));
      size += kRepairTagSize;
    } else if (kind == PathPacketKind::Control) {
      const Bytes message = in_.take(in_.u8());
      const size_t sealed = message.size() + PathProtection::kSealOverhead;
      send_keys_->seal(bound_control(header, room_), message,
                       MutableBytes(room_).subspan(kFront, sealed));
      size += sealed;
    } else {
      const Bytes content = in_.take(in_.u8());
      std::ranges::copy(content, room_.begin() + kFront);
      size += content.size();
    }
    size = std::max(size, kFront + PathProtection::kSampleSize);
    write_path_header(*send_keys_, header, MutableBytes(room_).first(size));
    return MutableBytes(room_).first(size);
  }

  void arrive(MutableBytes packet) { receiver_.on_packet(now_, {}, packet, kQuicId, sink_); }

  void advance() {
    now_ += Duration(100us) * in_.u16();
    receiver_.on_timeout(now_, sink_);
    if (const auto next = receiver_.next_timeout(now_)) MASQUE_ASSERT(*next > now_);
  }

  void check_report() {
    const PathReport report = receiver_.make_report(now_);
    for (const auto& its : report.classes) MASQUE_ASSERT(its.lost <= its.settled);
    std::array<uint8_t, kPathMessageMax> out;
    const size_t size = write_path_message(report, out);
    MASQUE_ASSERT(size > 0 && read_path_message(Bytes(out).first(size)) == PathMessage(report));
  }

  FuzzInput& in_;
  std::unique_ptr<PathProtection> send_keys_ = make_null_path_protection(kQuicId);
  std::unique_ptr<PathProtection> receive_keys_ = make_null_path_protection(kQuicId);
  PathSettings settings_;
  PathSender sender_;
  PathReceiver receiver_;
  Sink sink_;
  Instant now_{10s};
  std::array<uint8_t, 1500> room_{};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzInput in(data, size);
  Run run(in);
  while (!in.empty()) run.step();
  run.finish();
  return 0;
}
