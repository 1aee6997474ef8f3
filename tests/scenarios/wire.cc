// SPDX-License-Identifier: Apache-2.0
#include "tests/scenarios/wire.h"

#include <algorithm>
#include <cstdlib>
#include <map>

#include "core/quic/null_checksum.h"

namespace masque {

namespace {

using null_tls::kTagSize;

// What a frame is made of: varints, then perhaps bytes (RFC 9000 19, RFC 9221 4).
struct Shape {
  enum class Bytes : uint8_t { None, Sized, ToTheEnd, Eight };
  size_t numbers = 0;
  Bytes bytes = Bytes::None;
};

// ACK and NEW_CONNECTION_ID have more to them.
std::optional<Shape> shape_of(uint64_t type) {
  switch (type) {
    case 0x00:  // PADDING
    case 0x01:  // PING
    case 0x1e:  // HANDSHAKE_DONE
      return Shape{};
    case 0x02:  // ACK: largest, delay, ranges, first range
    case 0x03:
      return Shape{.numbers = 4};
    case 0x04:  // RESET_STREAM
      return Shape{.numbers = 3};
    case 0x05:  // STOP_SENDING
    case 0x11:  // MAX_STREAM_DATA
    case 0x15:  // STREAM_DATA_BLOCKED
    case 0x18:  // NEW_CONNECTION_ID
      return Shape{.numbers = 2};
    case 0x06:  // CRYPTO
    case 0x1d:  // CONNECTION_CLOSE of the application
      return Shape{.numbers = 1, .bytes = Shape::Bytes::Sized};
    case 0x1c:  // CONNECTION_CLOSE
      return Shape{.numbers = 2, .bytes = Shape::Bytes::Sized};
    case 0x07:  // NEW_TOKEN
    case 0x31:  // DATAGRAM with its length
      return Shape{.bytes = Shape::Bytes::Sized};
    case 0x30:  // DATAGRAM
      return Shape{.bytes = Shape::Bytes::ToTheEnd};
    case 0x10:  // MAX_DATA, MAX_STREAMS, DATA_BLOCKED, STREAMS_BLOCKED, RETIRE_CONNECTION_ID
    case 0x12:
    case 0x13:
    case 0x14:
    case 0x16:
    case 0x17:
    case 0x19:
      return Shape{.numbers = 1};
    case 0x1a:  // PATH_CHALLENGE
    case 0x1b:  // PATH_RESPONSE
      return Shape{.bytes = Shape::Bytes::Eight};
    default:
      break;
  }
  if (type < 0x08 || type > 0x0f) return std::nullopt;
  return Shape{.numbers = (type & 4) != 0 ? 2u : 1u,  // STREAM
               .bytes = (type & 2) != 0 ? Shape::Bytes::Sized : Shape::Bytes::ToTheEnd};
}

Result<void> read_numbers(WireFrame& frame, ByteReader& in, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    TRY(const uint64_t number, in.varint());
    frame.numbers.push_back(number);
  }
  return {};
}

Result<void> read_data(WireFrame& frame, ByteReader& in, Shape::Bytes how) {
  uint64_t size = 0;
  if (how == Shape::Bytes::Eight) size = 8;
  if (how == Shape::Bytes::ToTheEnd) size = in.size();
  if (how == Shape::Bytes::Sized) {
    TRY(size, in.varint());
  }
  TRY(const Bytes bytes, in.bytes(static_cast<size_t>(size)));
  frame.data.assign(bytes.begin(), bytes.end());
  return {};
}

Result<WireFrame> read_frame(ByteReader& in) {
  WireFrame out;
  TRY(out.type, in.varint());
  const auto shape = shape_of(out.type);
  if (!shape) return std::unexpected(WireError::Truncated);
  TRY_VOID(read_numbers(out, in, shape->numbers));
  TRY_VOID(read_data(out, in, shape->bytes));
  if (out.acknowledges()) {
    // A gap and a length for each further range, and the counts of three marks.
    TRY_VOID(read_numbers(out, in, 2 * out.numbers[2] + (out.type == 3 ? 3 : 0)));
  }
  if (out.is(FrameType::NewConnectionId)) {
    TRY(const uint8_t length, in.u8());
    TRY(const Bytes id, in.bytes(length));
    TRY(const Bytes token, in.bytes(16));
    out.data.assign(id.begin(), id.end());
    out.reset_token.assign(token.begin(), token.end());
  }
  if (out.type == 0x31) out.type = static_cast<uint64_t>(FrameType::Datagram);
  return out;
}

Result<ConnectionId> read_id(ByteReader& in, size_t size) {
  TRY(const Bytes bytes, in.bytes(size));
  if (bytes.size() > ConnectionId::kLengthMax) return std::unexpected(WireError::Truncated);
  return ConnectionId(bytes);
}

Result<void> read_payload(WirePacket& packet, ByteReader in, uint8_t first) {
  TRY_VOID(in.bytes((first & 3u) + 1u));  // the packet number
  if (in.size() < kTagSize) return std::unexpected(WireError::Truncated);
  TRY(const Bytes plain, in.bytes(in.size() - kTagSize));
  ByteReader frames(plain);
  while (!frames.empty()) {
    TRY(WireFrame frame, read_frame(frames));
    if (!frame.is(FrameType::Padding)) packet.frames.push_back(std::move(frame));
  }
  return {};
}

Result<WirePacket> read_packet(ByteReader& in) {
  WirePacket out;
  TRY(const uint8_t first, in.u8());
  if ((first & 0x80) == 0) {
    out.key_phase = (first & 4) != 0;
    TRY(out.dcid, read_id(in, kConnectionIdLength));
    TRY_VOID(read_payload(out, ByteReader(in.rest()), first));
    TRY_VOID(in.bytes(in.size()));
    return out;
  }
  TRY(const uint32_t version, in.u32());
  TRY(const uint8_t dcid_size, in.u8());
  TRY(out.dcid, read_id(in, dcid_size));
  TRY(const uint8_t scid_size, in.u8());
  TRY(out.scid, read_id(in, scid_size));
  if (version == 0) {
    out.kind = WirePacket::Kind::VersionNegotiation;
    TRY_VOID(in.bytes(in.size()));
    return out;
  }
  out.kind = static_cast<WirePacket::Kind>((first >> 4) & 3);
  if (out.kind == WirePacket::Kind::Retry) {
    if (in.size() < kTagSize) return std::unexpected(WireError::Truncated);
    TRY(const Bytes token, in.bytes(in.size() - kTagSize));
    out.token.assign(token.begin(), token.end());
    TRY_VOID(in.bytes(in.size()));
    return out;
  }
  if (out.kind == WirePacket::Kind::Initial) {
    TRY(const uint64_t size, in.varint());
    TRY(const Bytes token, in.bytes(static_cast<size_t>(size)));
    out.token.assign(token.begin(), token.end());
  }
  TRY(const uint64_t length, in.varint());
  TRY(const Bytes rest, in.bytes(static_cast<size_t>(length)));
  TRY_VOID(read_payload(out, ByteReader(rest), first));
  return out;
}

}  // namespace

bool WireFrame::probing() const {
  return is(FrameType::Padding) || is(FrameType::PathChallenge) || is(FrameType::PathResponse) ||
         is(FrameType::NewConnectionId);
}

bool WirePacket::has(FrameType type) const {
  return std::ranges::any_of(frames, [type](const WireFrame& frame) { return frame.is(type); });
}

bool WireDatagram::has(FrameType type) const {
  return std::ranges::any_of(packets, [type](const WirePacket& one) { return one.has(type); });
}

bool WireDatagram::has(WirePacket::Kind kind) const {
  return std::ranges::any_of(packets, [kind](const WirePacket& one) { return one.kind == kind; });
}

std::vector<WirePacket> read_datagram(Bytes bytes) {
  std::vector<WirePacket> out;
  ByteReader in(bytes);
  while (!in.empty()) {
    auto packet = read_packet(in);
    if (!packet) break;
    out.push_back(std::move(*packet));
  }
  return out;
}

WireTap::WireTap(Lab& lab, Decide drop) : lab_(lab), drop_(std::move(drop)) {
  lab_.network.set_filter([this](const Network::Packet& packet) {
    const WireDatagram read{.at = lab_.world.now(),
                            .from = packet.from,
                            .to = packet.to,
                            .ecn = packet.ecn,
                            .size = packet.bytes.size(),
                            .packets = read_datagram(packet.bytes)};
    seen_.push_back(read);
    return drop_ && drop_(packet, read);
  });
}

WireTap::~WireTap() { lab_.network.set_filter(nullptr); }

bool wire_is_plain(Lab& lab) {
  const char* crypto = std::getenv("MASQUE_CRYPTO");
  if (crypto == nullptr || std::string_view(crypto) != "real") return true;
  lab.add_server();
  EXPECT_TRUE(lab.connect(lab.add_client("anna")));
  lab.finish();
  return false;
}

std::vector<uint8_t> crypto_bytes(const std::vector<WireDatagram>& seen, const SocketAddress& from,
                                  WirePacket::Kind kind) {
  std::map<uint64_t, std::vector<uint8_t>> pieces;
  for (const WireDatagram& datagram : seen) {
    if (datagram.from != from) continue;
    for (const WirePacket& packet : datagram.packets) {
      if (packet.kind != kind) continue;
      for (const WireFrame& frame : packet.frames) {
        if (frame.is(FrameType::Crypto)) pieces[frame.numbers[0]] = frame.data;
      }
    }
  }
  std::vector<uint8_t> out;
  for (const auto& [offset, data] : pieces) {
    if (offset > out.size() || offset + data.size() <= out.size()) continue;
    out.resize(static_cast<size_t>(offset));
    out.insert(out.end(), data.begin(), data.end());
  }
  return out;
}

std::vector<uint8_t> make_initial(const ConnectionId& dcid, const ConnectionId& scid, Bytes crypto,
                                  size_t datagram_size) {
  ByteBuffer header;
  header.u8(0xc0);  // Initial, one byte of packet number
  header.u32(1);
  header.u8(static_cast<uint8_t>(dcid.size()));
  header.bytes(dcid.bytes());
  header.u8(static_cast<uint8_t>(scid.size()));
  header.bytes(scid.bytes());
  header.u8(0);  // no token
  const size_t rest = datagram_size - header.size() - 2;
  header.u16(static_cast<uint16_t>(0x4000 | rest));
  header.u8(0);
  ByteBuffer payload;
  payload.varint(static_cast<uint64_t>(FrameType::Crypto));
  payload.varint(0);
  payload.varint(crypto.size());
  payload.bytes(crypto);
  while (payload.size() + 1 + kTagSize < rest) payload.u8(0);
  const uint8_t nonce[12] = {};
  const auto tag = null_tls::tag(null_tls::initial_key(dcid.bytes(), true), nonce, header.view(),
                                 payload.view());
  std::vector<uint8_t> out(header.view().begin(), header.view().end());
  out.insert(out.end(), payload.view().begin(), payload.view().end());
  out.insert(out.end(), tag.begin(), tag.end());
  return out;
}

}  // namespace masque
