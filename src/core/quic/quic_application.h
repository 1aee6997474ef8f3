// SPDX-License-Identifier: Apache-2.0
// What QUIC carries: implemented by Http3Connection, called by QuicConnection while it reads
// packets or fills a transmit batch. No call may re-enter the connection's on_datagram or destroy
// it.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "base/id.h"

namespace masque {

// The next bytes of a stream to write: `stream` < 0 says there are none. FIN comes with the last
// piece.
struct StreamChunk {
  static constexpr size_t kPiecesMax = 16;
  int64_t stream = -1;
  std::array<Bytes, kPiecesMax> pieces;
  size_t piece_count = 0;
  bool fin = false;
};

// What a callback tells QUIC: go on, or the application has closed the connection with an error.
enum class Continue : uint8_t { Yes, No };

class QuicApplication {
 public:
  virtual ~QuicApplication() = default;

  virtual Continue on_handshake_completed() = 0;
  virtual Continue on_stream_data(StreamId stream, Bytes data, bool fin) = 0;
  virtual void on_stream_acked(StreamId stream, uint64_t bytes) = 0;
  virtual void on_stream_unblocked(StreamId stream) = 0;
  virtual void on_stream_reset(StreamId stream, uint64_t code) = 0;   // peer's RESET_STREAM
  virtual void on_stream_closed(StreamId stream, uint64_t code) = 0;  // both directions are done
  virtual void on_remote_streams(uint64_t max_bidirectional) = 0;
  virtual void on_datagram(Bytes frame_payload) = 0;  // RFC 9221

  virtual bool next_stream_chunk(StreamChunk& chunk) = 0;  // false: connection error
  virtual void on_stream_written(StreamId stream, size_t bytes) = 0;
  virtual void on_stream_blocked(StreamId stream) = 0;
  // Our direction has been reset, also because of the peer's STOP_SENDING: ngtcp2 tells it only
  // here.
  virtual void on_stream_write_shut(StreamId stream) = 0;
};

}  // namespace masque
