// SPDX-License-Identifier: Apache-2.0
// The addresses of one CONNECT-IP session, both ways (RFC 9484 4.7.1, 4.7.2): what the peer
// assigned to us and what we assigned to the peer. Every ADDRESS_ASSIGN is the complete list. A
// denial (all-zero address of full length) is never an address.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <vector>

#include "core/capsule/capsule.h"
#include "core/capsule/request_ids.h"

namespace masque {

class AddressBook {
 public:
  // --- what the peer assigns to us ---
  // Prefixes that nobody can have (loopback, link-local, multicast, half the Internet) are passed
  // over and counted: a hostile gateway must not make us the owner of everything (faults.md C5).
  enum class Change : uint8_t { None, Changed };
  Change on_address_assign(const AddressAssign& capsule);
  // Sorted; keyed by prefix, not by Request ID: an ID need not come back (protocol.md trap 25).
  const std::vector<IpPrefix>& ours() const { return ours_; }
  bool has_ours(IpVersion version) const;

  // An ADDRESS_REQUEST with fresh IDs for the wanted prefixes.
  AddressRequest make_request(std::span<const IpPrefix> wanted);
  // Families whose request was denied and for which nothing was assigned since.
  std::vector<IpVersion> denied() const;
  uint64_t refused() const { return refused_; }
  size_t requests_open() const { return requests_.size(); }

  // --- what we assign to the peer ---
  // Checks the IDs and keeps the request until the next assign(). TooMany when the peer's addresses
  // and the answers might not fit one ADDRESS_ASSIGN, because every one is the complete list.
  Result<void> on_address_request(const AddressRequest& capsule);
  std::span<const RequestedAddress> pending() const { return pending_; }
  // `prefixes` is the complete list of the peer's addresses from now on, of which those count that
  // one capsule holds (kAssignedAddressesMax). Each pending request is answered: with the prefix it
  // names, else with the first one of its family that answers no other request, else with a denial,
  // which is sent this once only (RFC 9484 4.7.2). A denial that finds no room, because `prefixes`
  // has grown meanwhile, waits for the next list.
  AddressAssign assign(std::span<const IpPrefix> prefixes);
  const std::vector<IpPrefix>& theirs() const { return theirs_; }

 private:
  std::vector<IpPrefix> ours_;
  std::map<RequestId, IpVersion> requests_;  // sent and not answered yet
  std::vector<IpVersion> denied_;
  uint64_t refused_ = 0;
  RequestIdSource ids_;

  std::vector<IpPrefix> theirs_;
  std::map<IpPrefix, RequestId> answered_with_;  // the request that each of `theirs_` answers
  std::vector<RequestedAddress> pending_;
  RequestIdHistory seen_;
};

}  // namespace masque
