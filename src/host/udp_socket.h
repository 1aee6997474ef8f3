// SPDX-License-Identifier: Apache-2.0
// A non-blocking UDP socket that moves batches: recvmmsg with UDP_GRO, sendmmsg with UDP_SEGMENT.
//
// What callers may rely on: one family per socket (IPv6 sockets are v6-only); DF is always set and
// the kernel's own path MTU is ignored (RFC 9000 14: no fragmentation, QUIC searches); ECN and the
// local address are known for every datagram received and settable for every one sent; no error of
// one destination ever fails the socket, it is counted; nothing is allocated after create().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "core/quic/datagram_batch.h"
#include "host/unique_fd.h"

namespace masque {

struct UdpOptions {
  SocketAddress bind;  // address may be any(); port 0 lets the kernel choose
  std::optional<uint32_t>
      mark;            // SO_MARK: keeps outer packets out of the tunnel (interface_config.h)
  std::string device;  // SO_BINDTODEVICE; empty: any
  size_t buffer_bytes = size_t{8} << 20;  // SO_RCVBUF and SO_SNDBUF; the kernel may grant less
  enum class PortSharing : uint8_t { Exclusive, ReusePort } port_sharing = PortSharing::Exclusive;
  enum class Offload : uint8_t { On, Off } offload = Offload::On;  // GSO and GRO
};

struct UdpCounters {
  uint64_t receive_calls = 0;
  uint64_t datagrams_received = 0;
  uint64_t bytes_received = 0;
  uint64_t receive_dropped = 0;  // truncated, empty, or more segments than a batch holds
  uint64_t receive_errors = 0;
  uint64_t send_calls = 0;
  uint64_t datagrams_sent = 0;
  uint64_t bytes_sent = 0;
  uint64_t send_blocked = 0;    // the socket's buffer was full
  uint64_t send_too_large = 0;  // EMSGSIZE: above the interface's MTU
  uint64_t send_unreachable =
      0;  // ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL, EINVAL of a source address
  uint64_t send_refused = 0;  // EPERM, EACCES: a firewall
  uint64_t send_errors = 0;   // ENOBUFS and the rest
  uint64_t gso_refused = 0;   // runs that had to be sent one by one
};

// Buffers for one recvmmsg and the datagrams found in it. The spans live until the next receive.
class ReceiveBatch {
 public:
  static constexpr size_t kMessages = 16;            // of up to 64 KiB each
  static constexpr size_t kDatagramsMax = 16 * 128;  // the kernel merges at most 128 into one

  ReceiveBatch();
  ~ReceiveBatch();
  ReceiveBatch(ReceiveBatch&&) noexcept;
  ReceiveBatch& operator=(ReceiveBatch&&) noexcept;

  std::span<const ReceivedDatagram> datagrams() const { return {datagrams_.get(), count_}; }
  // True when every message slot was used: there is probably more to read.
  bool full() const { return full_; }

 private:
  friend class UdpSocket;
  struct Messages;
  std::unique_ptr<Messages> messages_;
  std::unique_ptr<ReceivedDatagram[]> datagrams_;
  size_t count_ = 0;
  bool full_ = false;
};

// How far a TransmitBatch has been sent; starts at {} for a new batch.
struct SendCursor {
  size_t run = 0;       // first run not wholly sent
  uint32_t offset = 0;  // bytes of that run already sent
};

class UdpSocket {
 public:
  enum class SendState : uint8_t {
    Done,         // every run was sent, or counted as failed: clear() the batch
    Blocked,      // keep the batch, wait for writable, call again with the same cursor
    OtherFamily,  // the run at the cursor goes to the other IP version: that is another socket's
  };

  static Result<UdpSocket, SysError> create(const UdpOptions& options);
  ~UdpSocket();
  UdpSocket(UdpSocket&&) noexcept;
  UdpSocket& operator=(UdpSocket&&) noexcept;

  int fd() const;
  const SocketAddress& local_address() const;  // as bound: any() stays any(), the port is real

  // Replaces the content of `batch` by what one recvmmsg yields; no datagrams means nothing is
  // waiting. An error (rare: the descriptor itself) leaves the batch empty.
  Result<void, SysError> receive_batch(ReceiveBatch& batch);

  // Sends from `cursor` on. A run's source address is path.local's unless that is any().
  SendState send_batch(const TransmitBatch& batch, SendCursor& cursor);

  const UdpCounters& counters() const;
  // errno of the last run that failed, for one log line; 0 when none did.
  int last_send_error() const;

 private:
  struct Impl;
  explicit UdpSocket(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Which local address the kernel would use towards `remote` (a connected socket, nothing is sent).
Result<IpAddress, SysError> source_address_for(const SocketAddress& remote,
                                               std::optional<uint32_t> mark = std::nullopt);

}  // namespace masque
