// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/address_book.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/mutant.h"
#include "core/tunnel/address_class.h"

namespace masque {
namespace {

// The widest block that one end of a tunnel may be given.
constexpr uint8_t kShortestAssignedV4 = 8;
constexpr uint8_t kShortestAssignedV6 = 16;

bool is_assignable(const IpPrefix& prefix) {
  if (mutant("assigned.special.remove")) return true;
  const uint8_t shortest =
      prefix.version() == IpVersion::V4 ? kShortestAssignedV4 : kShortestAssignedV6;
  return prefix.length() >= shortest && classify(prefix.first()) == AddressClass::Unicast &&
         classify(prefix.last()) == AddressClass::Unicast;
}

}  // namespace

AddressBook::Change AddressBook::on_address_assign(const AddressAssign& capsule) {
  std::vector<IpPrefix> fresh;
  for (const AssignedAddress& entry : capsule.addresses) {
    const auto request = requests_.find(entry.request_id);
    if (entry.is_denial() && !mutant("assigned.denial.remove")) {
      // RFC 9484 4.7.2: a refusal, whatever its ID; never to be treated as an address.
      if (request != requests_.end()) {
        if (std::ranges::find(denied_, request->second) == denied_.end()) {
          denied_.push_back(request->second);
        }
        requests_.erase(request);
      }
      continue;
    }
    if (request != requests_.end()) requests_.erase(request);
    if (!is_assignable(entry.prefix)) {
      ++refused_;
      continue;
    }
    fresh.push_back(entry.prefix);
  }
  std::ranges::sort(fresh);
  fresh.erase(std::ranges::unique(fresh).begin(), fresh.end());
  std::erase_if(denied_, [&](IpVersion v) {
    return std::ranges::any_of(fresh, [&](const IpPrefix& p) { return p.version() == v; });
  });
  if (fresh == ours_) return Change::None;
  ours_ = std::move(fresh);
  return Change::Changed;
}

bool AddressBook::has_ours(IpVersion version) const {
  return std::ranges::any_of(ours_, [&](const IpPrefix& p) { return p.version() == version; });
}

AddressRequest AddressBook::make_request(std::span<const IpPrefix> wanted) {
  AddressRequest capsule;
  for (const IpPrefix& prefix : wanted.first(std::min(wanted.size(), kRequestedAddressesMax))) {
    const RequestId id = ids_.next();
    requests_.emplace(id, prefix.version());
    capsule.addresses.push_back({.request_id = id, .prefix = prefix});
  }
  return capsule;
}

std::vector<IpVersion> AddressBook::denied() const { return denied_; }

Result<void> AddressBook::on_address_request(const AddressRequest& capsule) {
  TRY_VOID(seen_.on_request(capsule));
  // The answer lists the peer's addresses and at most one entry a request, in one capsule.
  const size_t answer_size = theirs_.size() + pending_.size() + capsule.addresses.size();
  const size_t answer_size_max = kAssignedAddressesMax + (mutant("requests.limit") ? 1 : 0);
  if (answer_size > answer_size_max && !mutant("requests.limit.remove")) {
    return std::unexpected(WireError::TooMany);
  }
  pending_.insert(pending_.end(), capsule.addresses.begin(), capsule.addresses.end());
  return {};
}

AddressAssign AddressBook::assign(std::span<const IpPrefix> prefixes) {
  theirs_.assign(prefixes.begin(), prefixes.end());
  std::ranges::sort(theirs_);
  theirs_.erase(std::ranges::unique(theirs_).begin(), theirs_.end());
  if (!mutant("leases.limit.remove"))
    theirs_.resize(std::min(theirs_.size(), kAssignedAddressesMax));
  std::erase_if(answered_with_, [&](const auto& entry) {
    return !std::ranges::binary_search(theirs_, entry.first);
  });

  AddressAssign capsule;
  std::set<IpPrefix> taken;  // by the requests answered now
  const auto answer = [&](const RequestedAddress& request, const IpPrefix& prefix) {
    answered_with_.insert_or_assign(prefix, request.request_id);
    taken.insert(prefix);
  };
  std::vector<RequestedAddress> unanswered;
  for (const RequestedAddress& request : std::exchange(pending_, {})) {
    const bool named = std::ranges::binary_search(theirs_, request.prefix);
    if (named && !taken.contains(request.prefix)) {
      answer(request, request.prefix);
    } else {
      unanswered.push_back(request);
    }
  }
  for (const RequestedAddress& request : unanswered) {
    const auto free = std::ranges::find_if(theirs_, [&](const IpPrefix& prefix) {
      return prefix.version() == request.prefix.version() && !taken.contains(prefix);
    });
    if (free != theirs_.end()) {
      answer(request, *free);
    } else if (theirs_.size() + capsule.addresses.size() == kAssignedAddressesMax &&
               !mutant("denials.limit.remove")) {
      pending_.push_back(request);
    } else {
      // RFC 9484 4.7.2: every requested address is answered; this is the refusal.
      capsule.addresses.push_back(
          AssignedAddress::denial(request.request_id, request.prefix.version()));
    }
  }
  std::vector<AssignedAddress> granted;
  for (const IpPrefix& prefix : theirs_) {
    const auto id = answered_with_.find(prefix);
    granted.push_back(
        {.request_id = id == answered_with_.end() ? RequestId(0) : id->second, .prefix = prefix});
  }
  capsule.addresses.insert(capsule.addresses.begin(), granted.begin(), granted.end());
  return capsule;
}

}  // namespace masque
