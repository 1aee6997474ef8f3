// SPDX-License-Identifier: Apache-2.0
// Policy and live changes: addresses and routes of a connected client change by capsule.
#include <algorithm>
#include <format>
#include <iterator>
#include <span>

#include "base/mutant.h"
#include "core/server/gateway_impl.h"
#include "core/tunnel/address_class.h"

namespace masque {

void Gateway::Impl::reserve_fixed_addresses() {
  std::vector<IpPrefix> reserved;
  for (const auto& [name, client] : policy->clients) {
    reserved.insert(reserved.end(), client.fixed_addresses.begin(), client.fixed_addresses.end());
  }
  pool.set_reserved(std::move(reserved));
}

void Gateway::Impl::set_policy(std::unique_ptr<const PolicySnapshot> snapshot) {
  policy = std::move(snapshot);
  host_addresses = RangeSet(policy->gateway_addresses);
  reserve_fixed_addresses();
  for (size_t i = 0; i < slots.size(); ++i) {
    if (!slots[i]) continue;
    Session& session = *slots[i];
    auto reason = reason_to_revoke(session.identity, session.credential, *policy);
    if (reason && (!mutant("revoke.live.remove") || !policy->find(session.identity))) {
      close_session(session, SessionEnd::Revoked, std::move(*reason));
      continue;
    }
    if (!mutant("policy.live.remove")) {
      session.rules = ClientRules::of(*policy->find(session.identity));
    }
    if (routes_for(session) != session.tunnel.advertised_by_us()) advertise(session);
    if (session.tunnel.has_routes() && !mutant("site.policy_change.remove")) {
      accept_site_routes(session);
    }
    touch(session);
  }
}

// What is advertised to a session: its routes, in its scope, of the families it has an address of.
std::vector<IpAddressRange> Gateway::Impl::routes_for(const Session& session) const {
  const ClientPolicy& client = *policy->find(session.identity);
  const std::vector<IpPrefix>& routes =
      session.routes_override ? *session.routes_override : policy->routes_for(client);
  auto ranges = routes_in_scope(routes, session.scope, session.resolved);
  std::erase_if(ranges, [&](const IpAddressRange& entry) {
    return std::ranges::none_of(session.addresses, [&](const IpPrefix& address) {
      return address.version() == entry.range.version();
    });
  });
  return ranges;
}

void Gateway::Impl::advertise(Session& session) {
  session.tunnel.advertise_routes(routes_for(session));
  touch(session);
}

// False when the prefix is routed to another session already or is ours.
bool Gateway::Impl::route(Session& session, const IpPrefix& prefix) {
  for (const IpAddress& address : pool.own_addresses()) {
    if (prefix.contains(address) && prefix.length() >= 8 && !mutant("site.own.remove"))
      return false;
  }
  return router.add(prefix, session.slot);
}

void Gateway::Impl::set_addresses(Session& session, const std::vector<IpPrefix>& addresses) {
  KernelRoutesChanged change;
  for (const IpPrefix& prefix : session.addresses) {
    router.remove(prefix);
    if (!pool.contains(prefix)) change.removed.push_back(prefix);
  }
  session.addresses.clear();
  for (const IpPrefix& prefix : addresses) {
    if (!route(session, prefix)) continue;
    session.addresses.push_back(prefix);
    if (!pool.contains(prefix)) change.added.push_back(prefix);
  }
  std::ranges::sort(session.addresses);
  session.tunnel.assign_addresses(session.addresses);
  touch(session);
  if (!change.added.empty() || !change.removed.empty()) emit(std::move(change));
}

std::expected<void, std::string> Gateway::Impl::check_addresses(
    const Session& session, const std::vector<IpPrefix>& addresses) const {
  if (addresses.size() > kGivenAddressesMax && !mutant("session.addresses.remove")) {
    return std::unexpected(std::format("a session has at most {} addresses", kGivenAddressesMax));
  }
  for (const IpPrefix& prefix : addresses) {
    if (classify(prefix.address()) != AddressClass::Unicast && !mutant("session.special.remove")) {
      return std::unexpected(
          std::format("{} is not an address that a client can have", prefix.to_string()));
    }
    for (const IpAddress& own_address : pool.own_addresses()) {
      if (!prefix.contains(own_address) || mutant("session.own.remove")) continue;
      return std::unexpected(std::format("{} holds the gateway's own address {}",
                                         prefix.to_string(), own_address.to_string()));
    }
    for (const auto& other : slots) {
      if (!other || other.get() == &session) continue;
      for (const IpPrefix& taken : other->addresses) {
        if (!taken.overlaps(prefix) || mutant("session.taken.remove")) continue;
        return std::unexpected(std::format("{} overlaps {}, which {} has", prefix.to_string(),
                                           taken.to_string(), other->identity));
      }
    }
  }
  return {};
}

namespace {

// A change names the families that it is about; the other one stays as it is.
std::vector<IpPrefix> with_other_families(std::vector<IpPrefix> wanted,
                                          std::span<const IpPrefix> present) {
  const std::vector<IpPrefix> named = wanted;
  std::ranges::copy_if(present, std::back_inserter(wanted), [&](const IpPrefix& kept) {
    return std::ranges::none_of(
        named, [&](const IpPrefix& prefix) { return prefix.version() == kept.version(); });
  });
  return wanted;
}

}  // namespace

// What the session would have of routes after the change; nullopt: as before.
std::expected<std::optional<std::vector<IpPrefix>>, std::string> Gateway::Impl::changed_routes(
    const Session& session, const SessionChange& change) const {
  if (!change.routes || change.routes->empty()) return change.routes;  // empty: none at all
  const auto& present = session.routes_override
                            ? *session.routes_override
                            : policy->routes_for(*policy->find(session.identity));
  auto routes = with_other_families(*change.routes, present);
  if (routes.size() > kAddressRangesMax && !mutant("session.routes.remove"))
    return std::unexpected(std::format("a session has at most {} routes", kAddressRangesMax));
  return routes;
}

std::expected<size_t, std::string> Gateway::set_session(std::string_view identity,
                                                        const SessionChange& change) {
  size_t changed = 0;
  for (const auto& session : impl_->slots) {
    if (!session || session->identity != identity) continue;
    TRY(auto routes, impl_->changed_routes(*session, change));
    if (change.addresses) {
      if (change.addresses->empty()) return std::unexpected("a session needs at least one address");
      const auto addresses = with_other_families(*change.addresses, session->addresses);
      auto checked = impl_->check_addresses(*session, addresses);
      if (!checked) return std::unexpected(std::move(checked).error());
      std::vector<IpPrefix> leased;
      std::ranges::copy_if(addresses, std::back_inserter(leased),
                           [&](const IpPrefix& prefix) { return impl_->pool.contains(prefix); });
      // An absent identity may hold one of them as its lease.
      if (!impl_->pool.set(identity, leased) && !mutant("session.leased.remove")) {
        return std::unexpected("an address is leased to another client");
      }
      impl_->set_addresses(*session, addresses);
    }
    if (routes) session->routes_override = std::move(routes);
    if (impl_->routes_for(*session) != session->tunnel.advertised_by_us()) {
      impl_->advertise(*session);
    }
    ++changed;
  }
  if (changed == 0) return std::unexpected(std::format("no such session: {}", identity));
  return changed;
}

}  // namespace masque
