// SPDX-License-Identifier: Apache-2.0
#include "core/server/address_pool.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <map>
#include <set>

#include "core/tunnel/test_packets.h"

namespace masque {
namespace {

using test::at;
using test::ip;
using test::net;
using test::nets;

std::vector<std::string> changed(AddressPool& pool) {
  std::vector<std::string> out;
  while (auto identity = pool.poll_changed()) out.push_back(*identity);
  return out;
}

TEST(AddressPool, the_gateway_has_the_first_address_and_clients_the_next) {
  AddressPool pool({.pools = nets({"10.8.0.0/24", "fd00:8::/64"})});
  EXPECT_EQ(pool.own_addresses(), (std::vector{ip("10.8.0.1"), ip("fd00:8::1")}));
  EXPECT_EQ(pool.acquire(at(0s), "anna", IpVersion::V4), nets({"10.8.0.2/32"}));
  EXPECT_EQ(pool.acquire(at(0s), "anna", IpVersion::V6), nets({"fd00:8::2/128"}));
  EXPECT_EQ(pool.acquire(at(0s), "bert", IpVersion::V4), nets({"10.8.0.3/32"}));
  EXPECT_EQ(pool.leases("anna"), nets({"10.8.0.2/32", "fd00:8::2/128"}));
  EXPECT_EQ(changed(pool), (std::vector<std::string>{"anna", "bert"}));
}

TEST(AddressPool, the_same_identity_gets_the_same_address) {
  AddressPool pool({.pools = nets({"10.8.0.0/24"})});
  const auto first = pool.acquire(at(0s), "anna", IpVersion::V4);
  pool.release(at(1s), "anna");
  pool.acquire(at(2s), "bert", IpVersion::V4);
  changed(pool);
  EXPECT_EQ(pool.acquire(at(24h), "anna", IpVersion::V4), first);
  EXPECT_TRUE(changed(pool).empty());  // nothing new to store
}

TEST(AddressPool, faults_b1_exhausted_and_nobody_else_touched) {
  AddressPool pool({.pools = nets({"10.8.0.0/29"}), .lease_time = 1h});
  EXPECT_EQ(pool.capacity(IpVersion::V4), 5u);
  std::set<IpPrefix> seen;
  for (int i = 0; i < 5; ++i) {
    const auto lease = pool.acquire(at(0s), std::format("c{}", i), IpVersion::V4);
    ASSERT_EQ(lease.size(), 1u);
    EXPECT_TRUE(seen.insert(lease[0]).second);
  }
  EXPECT_FALSE(seen.contains(net("10.8.0.0/32")));
  EXPECT_FALSE(seen.contains(net("10.8.0.1/32")));
  EXPECT_FALSE(seen.contains(net("10.8.0.7/32")));
  EXPECT_TRUE(pool.acquire(at(0s), "late", IpVersion::V4).empty());
  // An absent one keeps its lease for the lease time, and no longer.
  pool.release(at(0s), "c3");
  EXPECT_TRUE(pool.acquire(at(1h) - 1ns, "late", IpVersion::V4).empty());
  EXPECT_FALSE(pool.acquire(at(1h), "late", IpVersion::V4).empty());
  EXPECT_TRUE(pool.leases("c3").empty());
}

TEST(AddressPool, very_small_pools) {
  AddressPool single({.pools = nets({"10.8.0.9/32"})});
  EXPECT_EQ(single.own_addresses().front(), ip("10.8.0.9"));
  EXPECT_TRUE(single.acquire(at(0s), "anna", IpVersion::V4).empty());
  AddressPool pair({.pools = nets({"10.8.0.8/31"})});
  EXPECT_EQ(pair.own_addresses().front(), ip("10.8.0.8"));
  EXPECT_EQ(pair.acquire(at(0s), "anna", IpVersion::V4), nets({"10.8.0.9/32"}));
  AddressPool four({.pools = nets({"10.8.0.8/30"})});
  EXPECT_EQ(four.acquire(at(0s), "anna", IpVersion::V4), nets({"10.8.0.10/32"}));
  EXPECT_TRUE(four.acquire(at(0s), "bert", IpVersion::V4).empty());
}

TEST(AddressPool, several_pools_are_used_one_after_the_other) {
  AddressPool pool({.pools = nets({"10.8.0.0/30", "10.9.0.0/30"})});
  EXPECT_EQ(pool.acquire(at(0s), "a", IpVersion::V4), nets({"10.8.0.2/32"}));
  EXPECT_EQ(pool.acquire(at(0s), "b", IpVersion::V4), nets({"10.9.0.2/32"}));
  EXPECT_TRUE(pool.acquire(at(0s), "c", IpVersion::V4).empty());
  EXPECT_TRUE(pool.acquire(at(0s), "a", IpVersion::V6).empty());
}

TEST(AddressPool, reserved_addresses_are_never_given_out_by_chance) {
  AddressPool pool({.pools = nets({"10.8.0.0/29"})});
  pool.set_reserved(nets({"10.8.0.2/32", "10.8.0.4/31"}));
  EXPECT_EQ(pool.acquire(at(0s), "a", IpVersion::V4), nets({"10.8.0.3/32"}));
  EXPECT_EQ(pool.acquire(at(0s), "b", IpVersion::V4), nets({"10.8.0.6/32"}));
  EXPECT_TRUE(pool.acquire(at(0s), "c", IpVersion::V4).empty());
  EXPECT_TRUE(pool.set("d", nets({"10.8.0.2/32"})));  // its owner gets it by name
}

// proves: Z3
TEST(AddressPool, rfc9484_11_fresh_leases_follow_nobody) {
  AddressPool pool({.pools = nets({"10.8.0.0/29", "fd00:8::/64"}), .kind = LeaseKind::Fresh});
  EXPECT_EQ(pool.acquire(at(0s), "anna", IpVersion::V4), nets({"10.8.0.2/32"}));
  EXPECT_EQ(pool.acquire(at(0s), "anna", IpVersion::V6), nets({"fd00:8::2/128"}));
  EXPECT_EQ(pool.acquire(at(0s), "anna", IpVersion::V4), nets({"10.8.0.2/32"})) << "it is here";
  pool.release(at(1s), "anna");
  EXPECT_TRUE(pool.leases("anna").empty());
  EXPECT_EQ(pool.acquire(at(2s), "anna", IpVersion::V4), nets({"10.8.0.3/32"}));
  EXPECT_EQ(pool.acquire(at(2s), "anna", IpVersion::V6), nets({"fd00:8::3/128"}));
  pool.release(at(3s), "anna");
  // Once all were given out, the one that is unused for longest is next.
  for (const char* address : {"10.8.0.4/32", "10.8.0.5/32", "10.8.0.6/32", "10.8.0.2/32"}) {
    EXPECT_EQ(pool.acquire(at(4s), "anna", IpVersion::V4), nets({address}));
    pool.release(at(4s), "anna");
  }
}

TEST(AddressPool, stored_leases_come_back_and_bad_ones_do_not) {
  AddressPool pool({.pools = nets({"10.8.0.0/24"})});
  EXPECT_TRUE(pool.load(at(0s), "anna", net("10.8.0.77/32")));
  EXPECT_FALSE(pool.load(at(0s), "bert", net("10.8.0.77/32")));  // taken
  EXPECT_FALSE(pool.load(at(0s), "bert", net("10.8.0.1/32")));   // the gateway's
  EXPECT_FALSE(pool.load(at(0s), "bert", net("10.9.0.5/32")));   // of another pool
  EXPECT_FALSE(pool.load(at(0s), "bert", net("10.8.0.64/26")));  // of another size
  EXPECT_EQ(pool.acquire(at(1s), "anna", IpVersion::V4), nets({"10.8.0.77/32"}));
  EXPECT_TRUE(changed(pool).empty());
}

TEST(AddressPool, set_moves_a_lease_and_refuses_what_is_taken) {
  AddressPool pool({.pools = nets({"10.8.0.0/24"})});
  pool.acquire(at(0s), "anna", IpVersion::V4);
  pool.acquire(at(0s), "bert", IpVersion::V4);
  EXPECT_FALSE(pool.set("anna", nets({"10.8.0.3/32"})));
  EXPECT_EQ(pool.leases("anna"), nets({"10.8.0.2/32"}));
  EXPECT_FALSE(pool.set("anna", nets({"10.8.0.1/32"})));
  EXPECT_FALSE(pool.set("anna", nets({"10.8.0.0/30"})));  // holds the gateway's
  EXPECT_TRUE(pool.set("anna", nets({"10.8.0.99/32"})));
  EXPECT_EQ(pool.leases("anna"), nets({"10.8.0.99/32"}));
  EXPECT_EQ(pool.acquire(at(0s), "carl", IpVersion::V4), nets({"10.8.0.4/32"}));
  // Several of one family stay together, and nobody else gets one of them.
  EXPECT_TRUE(pool.set("anna", nets({"10.8.0.5/32", "10.8.0.6/32"})));
  EXPECT_EQ(pool.acquire(at(0s), "anna", IpVersion::V4), nets({"10.8.0.5/32", "10.8.0.6/32"}));
  EXPECT_EQ(pool.acquire(at(0s), "dora", IpVersion::V4), nets({"10.8.0.7/32"}));
  EXPECT_FALSE(pool.set("dora", nets({"10.8.0.8/32", "10.8.0.6/32"})));
  EXPECT_EQ(pool.leases("dora"), nets({"10.8.0.7/32"}));
}

// faults.md B4: leases are unique, free plus leased is the pool, the same identity keeps its
// address within the lease time.
TEST(AddressPool, faults_b4_agrees_with_a_map_under_random_steps) {
  EXPECT_TRUE(rc::check([](const std::vector<std::tuple<uint8_t, uint8_t>>& steps) {
    constexpr Duration kLeaseTime = 100s;
    AddressPool pool({.pools = nets({"10.8.0.0/28", "fd00::/124"}), .lease_time = kLeaseTime});
    struct Holder {
      IpPrefix prefix;
      std::optional<Instant> absent_since;
    };
    std::map<std::string, Holder> model;
    Instant now = at(0s);
    for (const auto& [what, who] : steps) {
      now += 7s;
      const std::string identity = std::format("c{}", who % 24);
      switch (what % 4) {
        case 0:
        case 1: {
          const auto lease = pool.acquire(now, identity, IpVersion::V4);
          const auto known = model.find(identity);
          if (known != model.end() &&
              (!known->second.absent_since || now - *known->second.absent_since < kLeaseTime)) {
            RC_ASSERT(lease == std::vector{known->second.prefix});
          }
          if (lease.empty()) {
            for (const auto& [name, holder] : model) {
              RC_ASSERT((!holder.absent_since || now - *holder.absent_since < kLeaseTime));
            }
            RC_ASSERT(model.size() == pool.capacity(IpVersion::V4));
            break;
          }
          // Whoever had it lost it rightly.
          for (auto it = model.begin(); it != model.end();) {
            const bool evicted = it->first != identity && pool.leases(it->first).empty();
            if (evicted) {
              RC_ASSERT((it->second.absent_since && now - *it->second.absent_since >= kLeaseTime));
            }
            it = evicted ? model.erase(it) : std::next(it);
          }
          model[identity] = {.prefix = lease[0], .absent_since = std::nullopt};
          break;
        }
        case 2:
          pool.release(now, identity);
          if (const auto it = model.find(identity); it != model.end() && !it->second.absent_since) {
            it->second.absent_since = now;
          }
          break;
        default:
          RC_ASSERT(pool.remove(identity) == (model.erase(identity) == 1));
          break;
      }
      std::set<IpPrefix> unique;
      for (const auto& [name, holder] : model) {
        RC_ASSERT(unique.insert(holder.prefix).second);
        RC_ASSERT(pool.leases(name) == std::vector{holder.prefix});
      }
      RC_ASSERT(pool.leased(IpVersion::V4) == model.size());
    }
  }));
}

}  // namespace
}  // namespace masque
