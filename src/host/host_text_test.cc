// SPDX-License-Identifier: Apache-2.0
// What host says in words: nft text, sentences about errors, service manager messages, vnet
// headers.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <format>

#include "host/control_address.h"
#include "host/nat.h"
#include "host/notify.h"
#include "host/privileges.h"
#include "host/system.h"
#include "host/vnet_header.h"

namespace masque {
namespace {

TEST(Nat, the_ruleset_masquerades_each_family_and_replaces_a_stale_table) {
  const std::string text =
      nat_ruleset({.tun_name = "vpn0",
                   .sources = {*IpPrefix::parse("10.8.0.0/24"), *IpPrefix::parse("10.9.0.0/24"),
                               *IpPrefix::parse("2001:db8:8::/64")}});
  EXPECT_TRUE(
      text.starts_with("add table inet masque_vpn_vpn0\ndelete table inet masque_vpn_vpn0\n"))
      << text;
  EXPECT_TRUE(text.contains(
      "ip saddr { 10.8.0.0/24, 10.9.0.0/24 } oifname != { \"vpn0\", \"lo\" } masquerade"))
      << text;
  EXPECT_TRUE(text.contains("ip6 saddr { 2001:db8:8::/64 } oifname")) << text;
  EXPECT_FALSE(text.contains("maxseg"));
}

TEST(Nat, named_interfaces_are_the_only_ones_where_packets_change_their_source) {
  NatOptions options{
      .tun_name = "vpn0",
      .sources = {*IpPrefix::parse("10.8.0.0/24"), *IpPrefix::parse("2001:db8:8::/64")},
      .interfaces = {"eth0"}};
  const std::string one = nat_ruleset(options);
  EXPECT_TRUE(one.contains("ip saddr { 10.8.0.0/24 } oifname { \"eth0\" } masquerade")) << one;
  EXPECT_TRUE(one.contains("ip6 saddr { 2001:db8:8::/64 } oifname { \"eth0\" } masquerade")) << one;
  EXPECT_FALSE(one.contains("!=")) << one;
  options.interfaces = {"eth0", "a\" } masquerade"};
  const std::string two = nat_ruleset(options);
  EXPECT_TRUE(two.contains("oifname { \"eth0\", \"a____masquerade\" } masquerade")) << two;
}

TEST(Nat, a_name_cannot_leave_its_quotes) {
  const std::string text = nat_ruleset(
      {.tun_name = "a\" } ; flush ruleset", .sources = {*IpPrefix::parse("10.0.0.0/8")}});
  EXPECT_FALSE(text.contains("flush ruleset")) << text;
  EXPECT_EQ(nat_table_name("my-tun.1"), "masque_vpn_my_tun_1");
}

TEST(Nat, overlapping_pools_become_one_set) {
  const std::string text =
      nat_ruleset({.tun_name = "vpn0",
                   .sources = {*IpPrefix::parse("10.8.0.0/24"), *IpPrefix::parse("10.8.0.0/16")}});
  EXPECT_TRUE(text.contains("ip saddr { 10.8.0.0/16 } oifname")) << text;
}

TEST(Nat, mss_is_clamped_when_asked) {
  const std::string text = nat_ruleset(
      {.tun_name = "vpn0", .sources = {}, .clamp_mss = NatOptions::ClampMss::ToRouteMtu});
  EXPECT_TRUE(text.contains("tcp option maxseg size set rt mtu")) << text;
  EXPECT_FALSE(text.contains("masquerade"));
}

TEST(Explain, every_error_is_one_line_that_says_how_to_mend_it) {
  struct Case {
    SysError error;
    const char* expected;
  };
  const Case cases[] = {
      {{.code = EADDRINUSE, .operation = "listen on UDP 0.0.0.0:443"},
       "another program uses this port"},
      {{.code = EBUSY, .operation = "make TUN interface vpn0"}, "choose another tun_name"},
      {{.code = EPERM, .operation = "make TUN interface vpn0"}, "CAP_NET_ADMIN"},
      {{.code = EROFS, .operation = "switch on IPv4 forwarding"}, "--sysctl"},
  };
  for (const Case& test : cases) {
    const std::string line = explain(test.error);
    EXPECT_TRUE(line.contains(test.expected)) << line;
    EXPECT_FALSE(line.contains('\n'));
  }
}

TEST(VnetHeader, fields_survive_both_ways) {
  const OffloadInfo infos[] = {
      {},
      {.gso = GsoType::TcpV4,
       .checksum = ChecksumState::Partial,
       .header_length = 52,
       .gso_size = 1348,
       .checksum_start = 20,
       .checksum_offset = 16},
      {.gso = GsoType::TcpV6,
       .checksum = ChecksumState::Partial,
       .header_length = 72,
       .gso_size = 1328,
       .checksum_start = 40,
       .checksum_offset = 16},
      {.gso = GsoType::Udp,
       .checksum = ChecksumState::Partial,
       .header_length = 28,
       .gso_size = 1200,
       .checksum_start = 20,
       .checksum_offset = 6},
  };
  for (const OffloadInfo& info : infos) {
    uint8_t bytes[kVnetHeaderBytes];
    write_vnet_header(info, bytes);
    const auto back = read_vnet_header(bytes);
    ASSERT_TRUE(back);
    EXPECT_EQ(back->gso, info.gso);
    EXPECT_EQ(back->checksum, info.checksum);
    EXPECT_EQ(back->header_length, info.header_length);
    EXPECT_EQ(back->gso_size, info.gso_size);
    EXPECT_EQ(back->checksum_start, info.checksum_start);
    EXPECT_EQ(back->checksum_offset, info.checksum_offset);
  }
}

TEST(VnetHeader, the_ecn_flag_is_passed_over_and_unknown_kinds_are_refused) {
  uint8_t bytes[kVnetHeaderBytes] = {1, 0x81};
  ASSERT_TRUE(read_vnet_header(bytes));
  EXPECT_EQ(read_vnet_header(bytes)->gso, GsoType::TcpV4);
  for (const uint8_t kind : std::to_array<uint8_t>({2, 3, 6, 0x7f})) {  // 3 is the long dead UFO
    bytes[1] = kind;
    EXPECT_FALSE(read_vnet_header(bytes)) << int{kind};
  }
}

class Notify : public testing::TestWithParam<const char*> {};

TEST_P(Notify, messages_reach_the_manager) {
  const auto fd = sys::socket(AF_UNIX, SOCK_DGRAM, 0);
  ASSERT_TRUE(fd);
  const std::string directory = std::filesystem::temp_directory_path().string();
  const std::string path =
      std::format("{}masque-notify-{}", GetParam()[0] == '@' ? "@" : directory + "/", ::getpid());
  auto name = to_unix_name(path);
  ASSERT_TRUE(name);
  if (path[0] == '@') {
    name->name.sun_path[0] = '\0';
    name->length -= 1;  // no terminating zero in the abstract namespace
  }
  ASSERT_TRUE(sys::bind(fd->get(), name->get(), name->length));
  ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
  ::setenv("WATCHDOG_USEC", "4000000", 1);
  ServiceNotifier notifier = ServiceNotifier::from_environment();
  EXPECT_EQ(::getenv("NOTIFY_SOCKET"), nullptr);
  EXPECT_EQ(notifier.watchdog_interval(), Duration(2s));

  const auto next = [&] {
    uint8_t bytes[256];
    EXPECT_TRUE(sys::poll_one(fd->get(), POLLIN, 1000).value_or(false));
    const auto got = sys::receive(fd->get(), bytes);
    return got ? std::string(as_text(Bytes(bytes).first(*got))) : std::string("nothing");
  };
  notifier.ready("connected\nREADY=0");
  EXPECT_EQ(next(), "READY=1\nSTATUS=connected READY=0");
  notifier.reloading();
  EXPECT_TRUE(next().starts_with("RELOADING=1\nMONOTONIC_USEC="));
  notifier.watchdog();
  EXPECT_EQ(next(), "WATCHDOG=1");
  notifier.stopping("bye");
  EXPECT_EQ(next(), "STOPPING=1\nSTATUS=bye");
  if (path[0] == '/') ::unlink(path.c_str());
}

INSTANTIATE_TEST_SUITE_P(Sockets, Notify, testing::Values("/", "@"), [](const auto& test) {
  return test.param[0] == '@' ? "abstract" : "file";
});

TEST(NotifyOff, without_a_manager_nothing_happens) {
  ::unsetenv("NOTIFY_SOCKET");
  ServiceNotifier notifier = ServiceNotifier::from_environment();
  EXPECT_FALSE(notifier.active());
  notifier.ready("x");
}

}  // namespace
}  // namespace masque
