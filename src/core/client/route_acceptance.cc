// SPDX-License-Identifier: Apache-2.0
#include "core/client/route_acceptance.h"

#include <algorithm>

#include "base/mutant.h"
#include "core/tunnel/address_class.h"
#include "core/tunnel/range_set.h"

namespace masque {
namespace {

// Never a route into a tunnel; a default route may cover them, its own entry in the table loses to
// theirs.
bool is_special(const IpPrefix& prefix) {
  if (is_default_like(prefix)) return false;
  return classify(prefix.first()) != AddressClass::Unicast ||
         classify(prefix.last()) != AddressClass::Unicast;
}

}  // namespace

bool is_default_like(const IpPrefix& prefix) {
  return prefix.length() <= (mutant("accept.default.limit") ? 1 : 2);
}

std::vector<IpRange> without(const IpRange& range, std::span<const IpPrefix> prefixes) {
  std::vector<IpRange> rest;
  std::optional<IpAddress> from = range.first;
  const std::vector<IpPrefix> list(prefixes.begin(), prefixes.end());
  for (const IpRange& hole : to_ranges(list)) {
    if (!from || hole.version() != range.version() || hole.last < *from ||
        hole.first > range.last) {
      continue;
    }
    if (hole.first > *from) rest.push_back({*from, *hole.first.previous()});
    from = hole.last.next();
  }
  if (from && *from <= range.last) rest.push_back({*from, range.last});
  return rest;
}

namespace {

// One call of accept_routes.
class Acceptance {
 public:
  explicit Acceptance(const RouteAcceptance& rules)
      : rules_(rules), only_(rules.only ? RangeSet(*rules.only) : RangeSet()) {}

  // Ranges of one protocol that touch each other.
  void take_run(std::span<const IpAddressRange> run) {
    const IpAddressRange whole{.range = {run.front().range.first, run.back().range.last},
                               .protocol = run.front().protocol};
    const auto prefixes = expand(whole.range);
    if (std::ranges::none_of(prefixes, is_default_like)) {
      for (const IpAddressRange& entry : run) take(entry);
      return;
    }
    const auto welcome = [&](const IpPrefix& prefix) { return allowed(prefix); };
    if (run.size() == 1 || std::ranges::all_of(prefixes, welcome)) return take(whole);
    for (const IpPrefix& prefix : prefixes) {
      if (is_default_like(prefix)) refuse(prefix);
    }
    take_narrower(run);
  }
  AcceptedRoutes finish() {
    std::ranges::sort(out_.prefixes);
    out_.prefixes.erase(std::ranges::unique(out_.prefixes).begin(), out_.prefixes.end());
    return std::move(out_);
  }

 private:
  bool allowed(const IpPrefix& prefix) const {
    if (is_special(prefix) && !mutant("accept.special.remove")) return false;
    if (is_default_like(prefix) && rules_.defaults == RouteAcceptance::Defaults::Refuse &&
        !mutant("accept.default.remove"))
      return false;
    return !rules_.only || only_.covers(prefix) || mutant("accept.only.remove");
  }
  void refuse(const IpPrefix& prefix) {
    ++out_.refused_count;
    if (out_.refused.size() < kRefusedReportMax) out_.refused.push_back(prefix);
  }

  // Cut short where too much was looked at already: nothing more is taken then.
  std::vector<IpPrefix> expand(const IpRange& range) {
    auto prefixes =
        to_prefixes(range, mutant("accept.examined.remove") ? SIZE_MAX : examined_left_);
    examined_left_ -= std::min(examined_left_, prefixes.size());
    return prefixes;
  }

  void take(const IpAddressRange& entry) {
    const auto prefixes = expand(entry.range);
    if (prefixes.empty()) refuse(IpPrefix::host(entry.range.first));
    for (const IpPrefix& prefix : prefixes) {
      if (allowed(prefix)) {
        take(prefix, entry.protocol);
      } else {
        refuse(prefix);
      }
    }
  }
  void take(const IpPrefix& prefix, uint8_t protocol) {
    for (const IpRange& piece :
         without(IpRange::of(prefix),
                 mutant("accept.exclude.remove") ? std::vector<IpPrefix>() : rules_.exclude)) {
      const auto prefixes = to_prefixes(piece);
      if (out_.prefixes.size() + prefixes.size() >
          kAcceptedPrefixesMax + (mutant("accept.limit") ? 1 : 0)) {
        return refuse(prefix);
      }
      out_.ranges.push_back({.range = piece, .protocol = protocol});
      out_.prefixes.insert(out_.prefixes.end(), prefixes.begin(), prefixes.end());
    }
  }

  // Not when they are a default route again, cut into equal parts.
  void take_narrower(std::span<const IpAddressRange> run) {
    std::vector<IpPrefix> narrower;
    for (const IpAddressRange& entry : run) {
      const auto prefixes = expand(entry.range);
      if (prefixes.size() == 1 && !is_default_like(prefixes.front()))
        narrower.push_back(prefixes.front());
    }
    const auto is_default = [](const IpRange& range) {
      return std::ranges::any_of(to_prefixes(range), is_default_like);
    };
    const bool disguised = std::ranges::any_of(to_ranges(narrower), is_default) &&
                           !mutant("accept.disguised_default.remove");
    for (const IpPrefix& prefix : narrower) {
      if (disguised || !allowed(prefix)) {
        refuse(prefix);
      } else {
        take(prefix, run.front().protocol);
      }
    }
  }

  const RouteAcceptance& rules_;
  RangeSet only_;
  size_t examined_left_ = kExaminedPrefixesMax;
  AcceptedRoutes out_;
};

bool touch(const IpAddressRange& before, const IpAddressRange& after) {
  return before.protocol == after.protocol && before.range.version() == after.range.version() &&
         before.range.last.next() == after.range.first;
}

}  // namespace

AcceptedRoutes accept_routes(std::span<const IpAddressRange> advertised,
                             const RouteAcceptance& rules) {
  Acceptance acceptance(rules);
  while (!advertised.empty()) {
    size_t length = 1;
    while (length < advertised.size() && touch(advertised[length - 1], advertised[length]))
      ++length;
    acceptance.take_run(advertised.first(length));
    advertised = advertised.subspan(length);
  }
  return acceptance.finish();
}

}  // namespace masque
