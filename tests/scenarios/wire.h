// SPDX-License-Identifier: Apache-2.0
// What QUIC says on the wire of the simulator, read without keys: null TLS protects packets by a
// checksum alone (core/quic/null_tls.h). So scenarios can judge what the library writes (RFC 9000
// 17, 19) and make an Initial that it would not.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "core/quic/connection_id.h"
#include "tests/scenarios/scenario.h"

namespace masque {

enum class FrameType : uint64_t {
  Padding = 0x00,
  Ping = 0x01,
  Crypto = 0x06,
  NewToken = 0x07,
  NewConnectionId = 0x18,
  RetireConnectionId = 0x19,
  PathChallenge = 0x1a,
  PathResponse = 0x1b,
  HandshakeDone = 0x1e,
  Datagram = 0x30,  // with a length too
};

struct WireFrame {
  uint64_t type = 0;
  std::vector<uint64_t> numbers;     // its varints, in order; lengths of `data` are not among them
  std::vector<uint8_t> data;         // of CRYPTO, the 8 bytes of a challenge, a connection ID, ...
  std::vector<uint8_t> reset_token;  // of NEW_CONNECTION_ID

  bool is(FrameType wanted) const { return type == static_cast<uint64_t>(wanted); }
  // RFC 9000 9.1.
  bool probing() const;
  bool acknowledges() const { return type == 2 || type == 3; }
};

struct WirePacket {
  enum class Kind : uint8_t { Initial, ZeroRtt, Handshake, Retry, OneRtt, VersionNegotiation };
  Kind kind = Kind::OneRtt;
  ConnectionId dcid, scid;
  std::vector<uint8_t> token;  // of Initial and Retry
  bool key_phase = false;
  std::vector<WireFrame> frames;

  bool has(FrameType type) const;
};

// The packets of a datagram; what cannot be read (a stateless reset) is left out.
std::vector<WirePacket> read_datagram(Bytes bytes);

struct WireDatagram {
  Instant at;
  SocketAddress from, to;
  Ecn ecn = Ecn::NotEct;
  size_t size = 0;
  std::vector<WirePacket> packets;

  bool has(FrameType type) const;
  bool has(WirePacket::Kind kind) const;
};

// Notes every datagram between its access links; `decide` may keep it from the receiver.
class WireTap {
 public:
  using Decide = std::function<bool(const Network::Packet& packet, const WireDatagram& read)>;

  explicit WireTap(Lab& lab, Decide drop = {});
  ~WireTap();
  WireTap(const WireTap&) = delete;
  WireTap& operator=(const WireTap&) = delete;

  void set_drop(Decide drop) { drop_ = std::move(drop); }
  const std::vector<WireDatagram>& seen() const { return seen_; }
  void forget() { seen_.clear(); }

 private:
  Lab& lab_;
  Decide drop_;
  std::vector<WireDatagram> seen_;
};

// False when the scenarios run over OpenSSL (MASQUE_CRYPTO=real): then a client has connected, and
// there is nothing to read.
bool wire_is_plain(Lab& lab);

// The CRYPTO bytes of one end in packets of one kind, in order.
std::vector<uint8_t> crypto_bytes(const std::vector<WireDatagram>& seen, const SocketAddress& from,
                                  WirePacket::Kind kind);

// A client's Initial as null TLS would protect it.
std::vector<uint8_t> make_initial(const ConnectionId& dcid, const ConnectionId& scid, Bytes crypto,
                                  size_t datagram_size);

}  // namespace masque
