// SPDX-License-Identifier: Apache-2.0
// Building, sending and reading of rtnetlink messages for the sources of host. Needs Linux headers.
#pragma once

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <functional>
#include <string>

#include "core/ip/address.h"
#include "host/netlink.h"

namespace masque {

inline int family_of(IpVersion version) { return version == IpVersion::V4 ? AF_INET : AF_INET6; }

// One request under construction.
class NetlinkRequest {
 public:
  NetlinkRequest(uint16_t type, int flags);
  template <class Header>
  Header& header() {
    return *static_cast<Header*>(mnl_nlmsg_put_extra_header(message(), sizeof(Header)));
  }
  void put(uint16_t attribute, const IpAddress& address);
  void put_u8(uint16_t attribute, uint8_t value) { mnl_attr_put_u8(message(), attribute, value); }
  void put_u32(uint16_t attribute, uint32_t value) {
    mnl_attr_put_u32(message(), attribute, value);
  }
  void put_text(uint16_t attribute, const std::string& text) {
    mnl_attr_put_strz(message(), attribute, text.c_str());
  }
  void put_bytes(uint16_t attribute, Bytes bytes) {
    mnl_attr_put(message(), attribute, bytes.size(), bytes.data());
  }
  nlattr* nest(uint16_t attribute) { return mnl_attr_nest_start(message(), attribute); }
  void end_nest(nlattr* nested) { mnl_attr_nest_end(message(), nested); }
  nlmsghdr* message() { return reinterpret_cast<nlmsghdr*>(buffer_.data()); }

 private:
  static constexpr size_t kBytes = 1024;  // far above what our largest request needs
  alignas(nlmsghdr) std::array<char, kBytes> buffer_{};
};

// The attributes of a message by their type; the last of equal types counts.
class NetlinkAttributes {
 public:
  NetlinkAttributes(const nlmsghdr* message, size_t header_bytes);
  bool has(uint16_t type) const { return type < found_.size() && found_[type] != nullptr; }
  std::optional<uint32_t> u32(uint16_t type) const;
  std::optional<uint8_t> u8(uint16_t type) const;
  std::optional<std::string> text(uint16_t type) const;
  // 4 or 16 bytes; anything else is as if absent.
  std::optional<IpAddress> address(uint16_t type) const;
  std::optional<Bytes> bytes(uint16_t type) const;

 private:
  static constexpr size_t kTypesMax = 64;
  std::array<const nlattr*, kTypesMax> found_{};
};

struct Netlink::Impl {
  mnl_socket* socket = nullptr;
  uint32_t sequence = 0;

  ~Impl();
  // Sends the request and reads up to its acknowledgement (or the end of a dump); `on_message` sees
  // every message of the answer. An interrupted dump is not repeated here: EINTR.
  Result<void, SysError> transact(NetlinkRequest& request, const std::string& operation,
                                  const std::function<void(const nlmsghdr*)>& on_message = {});
  // The same for dumps: repeated when the tables changed meanwhile; `restart` forgets what was
  // seen.
  Result<void, SysError> dump(const std::function<NetlinkRequest()>& make,
                              const std::string& operation, const std::function<void()>& restart,
                              const std::function<void(const nlmsghdr*)>& on_message);

 private:
  Result<void, SysError> read_answer(const std::string& operation,
                                     const std::function<void(const nlmsghdr*)>& on_message);
};

// The parts that NetworkMonitor reads as well.
Link parse_link(const nlmsghdr* message);
std::optional<Route> parse_route(const nlmsghdr* message);
std::optional<InterfaceAddress> parse_address(const nlmsghdr* message, uint32_t& interface);

}  // namespace masque
