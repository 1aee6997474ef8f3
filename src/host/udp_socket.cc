// SPDX-License-Identifier: Apache-2.0
// Opening and configuring; the packet path is in udp_receive.cc and udp_send.cc.
#include "host/udp_socket.h"

#include <netinet/udp.h>

#include <algorithm>
#include <cerrno>
#include <format>
#include <limits>

#include "host/socket_name.h"
#include "host/system.h"
#include "host/udp_socket_impl.h"

namespace masque {
namespace {

using sys::set_option;

// The FORCE forms go past net.core.[rw]mem_max with CAP_NET_ADMIN; less than asked is no error.
void set_buffer(int fd, int force_name, int name, size_t bytes) {
  const int value = static_cast<int>(std::min<size_t>(bytes, size_t{1} << 30));
  if (!set_option(fd, SOL_SOCKET, force_name, value, "")) {
    (void)set_option(fd, SOL_SOCKET, name, value, "");
  }
}

Result<void, SysError> set_v4_options(int fd) {
  TRY_VOID(set_option(fd, IPPROTO_IP, IP_PKTINFO, 1, "IP_PKTINFO"));
  TRY_VOID(set_option(fd, IPPROTO_IP, IP_RECVTOS, 1, "IP_RECVTOS"));
  // RFC 9000 14: DF always; PROBE ignores what forged ICMP taught the kernel.
  TRY_VOID(set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE, "IP_MTU_DISCOVER"));
  return set_option(fd, IPPROTO_IP, IP_RECVERR, 0, "IP_RECVERR");
}

Result<void, SysError> set_v6_options(int fd) {
  TRY_VOID(set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY"));
  TRY_VOID(set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1, "IPV6_RECVPKTINFO"));
  TRY_VOID(set_option(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1, "IPV6_RECVTCLASS"));
  TRY_VOID(
      set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE, "IPV6_MTU_DISCOVER"));
  TRY_VOID(set_option(fd, IPPROTO_IPV6, IPV6_DONTFRAG, 1, "IPV6_DONTFRAG"));
  // RFC 9000 9.7: a flow label of each pair of addresses and ports, even where hosts do without by
  // default.
  TRY_VOID(set_option(fd, IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 1, "IPV6_AUTOFLOWLABEL"));
  return set_option(fd, IPPROTO_IPV6, IPV6_RECVERR, 0, "IPV6_RECVERR");
}

Result<void, SysError> set_common_options(int fd, const UdpOptions& options) {
  if (options.port_sharing == UdpOptions::PortSharing::ReusePort) {
    TRY_VOID(set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT"));
  }
  if (options.mark) {
    TRY_VOID(set_option(fd, SOL_SOCKET, SO_MARK, static_cast<int>(*options.mark), "SO_MARK"));
  }
  if (!options.device.empty()) {
    TRY_VOID(set_option(fd, SOL_SOCKET, SO_BINDTODEVICE, as_bytes(options.device),
                        std::format("SO_BINDTODEVICE {}", options.device)));
  }
  set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, options.buffer_bytes);
  set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, options.buffer_bytes);
  return {};
}

Result<SocketAddress, SysError> bound_address(int fd) {
  SocketName name;
  name.length = sizeof name.v6;
  if (::getsockname(fd, &name.any, &name.length) < 0)
    return sys::failure("read the socket's address");
  return to_socket_address(name);
}

}  // namespace

UdpSocket::UdpSocket(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
UdpSocket::~UdpSocket() = default;
UdpSocket::UdpSocket(UdpSocket&&) noexcept = default;
UdpSocket& UdpSocket::operator=(UdpSocket&&) noexcept = default;

Result<UdpSocket, SysError> UdpSocket::create(const UdpOptions& options) {
  const bool v4 = options.bind.address.version() == IpVersion::V4;
  auto impl = std::make_unique<Impl>();
  TRY(impl->fd, sys::socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM, IPPROTO_UDP));
  const int fd = impl->fd.get();
  TRY_VOID(v4 ? set_v4_options(fd) : set_v6_options(fd));
  TRY_VOID(set_common_options(fd, options));
  const SocketName name = to_socket_name(options.bind);
  if (::bind(fd, &name.any, name.length) < 0) {
    return sys::failure(std::format("listen on UDP {}", options.bind.to_string()));
  }
  TRY(impl->local, bound_address(fd));
  if (options.offload == UdpOptions::Offload::On) {
    // GRO from Linux 5.0, GSO from 4.18: without them the same code moves single datagrams.
    (void)set_option(fd, IPPROTO_UDP, UDP_GRO, 1, "UDP_GRO");
    impl->gso = sys::option(fd, IPPROTO_UDP, UDP_SEGMENT, "UDP_SEGMENT").has_value();
  }
  return UdpSocket(std::move(impl));
}

int UdpSocket::fd() const { return impl_->fd.get(); }
const SocketAddress& UdpSocket::local_address() const { return impl_->local; }
const UdpCounters& UdpSocket::counters() const { return impl_->counters; }
int UdpSocket::last_send_error() const { return impl_->last_send_error; }

Result<IpAddress, SysError> source_address_for(const SocketAddress& remote,
                                               std::optional<uint32_t> mark) {
  const bool v4 = remote.address.version() == IpVersion::V4;
  TRY(const UniqueFd fd, sys::socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM, IPPROTO_UDP));
  if (mark) TRY_VOID(set_option(fd.get(), SOL_SOCKET, SO_MARK, static_cast<int>(*mark), "SO_MARK"));
  const SocketName name = to_socket_name(remote);
  if (::connect(fd.get(), &name.any, name.length) < 0) {
    return sys::failure(std::format("find a route to {}", remote.to_string()));
  }
  TRY(const SocketAddress local, bound_address(fd.get()));
  return local.address;
}

}  // namespace masque
