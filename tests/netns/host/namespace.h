// SPDX-License-Identifier: Apache-2.0
// Each test runs in a network namespace of its own, which vanishes with its sockets: nothing here
// can touch the machine's network. Needs CAP_SYS_ADMIN and CAP_NET_ADMIN.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/ip/address.h"
#include "core/ip/packet.h"
#include "host/netlink.h"
#include "host/system.h"
#include "host/tun_device.h"

namespace masque::netns {

inline IpAddress address(const char* text) { return *IpAddress::parse(text); }
inline IpPrefix prefix(const char* text) { return *IpPrefix::parse(text); }
inline InterfaceAddress interface_address(const char* text) {
  const std::string whole = text;
  const size_t slash = whole.find('/');
  return {.address = address(whole.substr(0, slash).c_str()),
          .length = static_cast<uint8_t>(std::stoi(whole.substr(slash + 1)))};
}

class NamespaceTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0) << "a namespace test needs root";
    auto netlink = Netlink::create();
    ASSERT_TRUE(netlink) << netlink.error().message();
    netlink_ = std::move(*netlink);
    ASSERT_TRUE(netlink_->set_up(1));  // lo
    // A new namespace has the IPv4 settings of the machine's first one.
    for (const char* setting : {"ip_forward", "conf/all/rp_filter", "conf/all/src_valid_mark"}) {
      ASSERT_TRUE(sys::write_file(std::string("/proc/sys/net/ipv4/") + setting, "0"));
    }
  }
  Netlink& netlink() { return *netlink_; }

  TunDevice make_tun(const std::string& name,
                     TunOptions::Offload offload = TunOptions::Offload::On) {
    auto tun = TunDevice::open({.name = name, .offload = offload});
    EXPECT_TRUE(tun) << tun.error().message();
    return std::move(*tun);
  }
  // An interface that plays the physical network: what is sent to it can be read from the result.
  TunDevice make_uplink(const std::string& name, std::vector<const char*> addresses) {
    TunDevice tun = make_tun(name, TunOptions::Offload::Off);
    const uint32_t index = index_of(name);
    EXPECT_TRUE(netlink().disable_link_local(index));
    EXPECT_TRUE(netlink().set_up(index));
    for (const char* text : addresses) {
      const InterfaceAddress entry = interface_address(text);
      EXPECT_TRUE(netlink().add_address(index, entry));
      add_route({.destination = IpPrefix::containing(entry.address, entry.length),
                 .interface = index,
                 .protocol = 4});
    }
    return tun;
  }
  void add_route(const Route& route) {
    const auto done = netlink().add_route(route, Existing::Keep);
    ASSERT_TRUE(done) << done.error().message();
  }
  uint32_t index_of(const std::string& name) {
    const auto link = netlink().link(name);
    EXPECT_TRUE(link) << link.error().message();
    return link ? link->index : 0;
  }
  // The first packet within a second that `wanted` accepts.
  static std::optional<std::vector<uint8_t>> read_packet(TunDevice& tun,
                                                         const std::function<bool(Bytes)>& wanted) {
    TunReadBatch batch;
    for (int attempt = 0; attempt < 100; ++attempt) {
      if (!sys::poll_one(tun.fd(), POLLIN, 10).value_or(false)) continue;
      if (!tun.read_batch(batch)) return std::nullopt;
      for (const TunPacket& packet : batch.packets()) {
        if (wanted(packet.bytes))
          return std::vector<uint8_t>(packet.bytes.begin(), packet.bytes.end());
      }
    }
    return std::nullopt;
  }

 private:
  std::optional<Netlink> netlink_;
};

}  // namespace masque::netns
