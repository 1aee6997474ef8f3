// SPDX-License-Identifier: Apache-2.0
// What a client asks for by capsule: addresses (RFC 9484 4.7.2) and the subnets behind it (4.7.3).
//
// Each capsule may cost the gateway a reply or new kernel routes, so they are throttled. What comes
// meanwhile is not lost: the newest list supersedes the ones before it, and all requests are
// answered together.
#include <algorithm>
#include <iterator>
#include <utility>

#include "base/mutant.h"
#include "core/server/gateway_impl.h"

namespace masque {
namespace {

// Prefixes that one list is cut into: ranges of a single prefix all find a place, and wide ones
// that are no prefixes cannot have hundreds each.
constexpr size_t kSitePrefixesMax = kAddressRangesMax;

}  // namespace

void Gateway::Impl::do_what_was_asked(Session& session) {
  Asked& asked = session.asked;
  if (!asked.addresses && !asked.routes) return asked.throttle.forget();
  if (!asked.throttle.may_act(called_at) && !mutant("asked.rate.remove")) return touch(session);
  if (std::exchange(asked.addresses, false)) {
    // RFC 9484 4.7.2: every request is answered, with the lease or with a denial.
    session.tunnel.assign_addresses(session.addresses);
  }
  if (asked.routes) accept_site_routes(session);
  touch(session);
}

void Gateway::Impl::accept_site_routes(Session& session) {
  session.asked.routes = false;
  const auto& advertised = session.tunnel.advertised_by_peer();
  auto permitted =
      mutant("site.unchecked") ? advertised : permitted_site_routes(advertised, session.rules);
  totals.routes_refused += advertised.size() - permitted.size();
  set_site_subnets(session, permitted);
}

bool Gateway::Impl::add_site_subnet(Session& session, const IpPrefix& prefix) {
  // The same networks may be advertised for several protocols.
  if (std::ranges::find(session.site_subnets, prefix) != session.site_subnets.end()) return true;
  const size_t subnets_max = config.site_subnets_max + (mutant("site.limit") ? 1 : 0);
  if (session.site_subnets.size() >= subnets_max || !route(session, prefix)) return false;
  session.site_subnets.push_back(prefix);
  return true;
}

// Puts the client's subnets in force: routed to it and accepted as its sources.
void Gateway::Impl::set_site_subnets(Session& session, const std::vector<IpAddressRange>& ranges) {
  const std::vector<IpPrefix> before = std::exchange(session.site_subnets, {});
  for (const IpPrefix& prefix : before) router.remove(prefix);
  std::vector<IpAddressRange> accepted;
  size_t prefixes_left = mutant("site.prefixes.remove") ? SIZE_MAX : kSitePrefixesMax;
  for (const IpAddressRange& entry : ranges) {
    const auto prefixes = to_prefixes(entry.range, prefixes_left);
    prefixes_left -= prefixes.size();
    if (prefixes.empty()) ++totals.routes_refused;
    for (const IpPrefix& prefix : prefixes) {
      if (add_site_subnet(session, prefix)) {
        accepted.push_back({.range = IpRange::of(prefix), .protocol = entry.protocol});
      } else {
        ++totals.routes_refused;
      }
    }
  }
  session.tunnel.accept_routes(std::move(accepted));
  KernelRoutesChanged change;
  std::ranges::copy_if(session.site_subnets, std::back_inserter(change.added),
                       [&](const IpPrefix& p) {
                         return std::ranges::find(before, p) == before.end() && !pool.contains(p);
                       });
  std::ranges::copy_if(before, std::back_inserter(change.removed), [&](const IpPrefix& p) {
    return std::ranges::find(session.site_subnets, p) == session.site_subnets.end() &&
           !pool.contains(p);
  });
  if (!change.added.empty() || !change.removed.empty()) emit(std::move(change));
}

}  // namespace masque
