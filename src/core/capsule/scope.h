// SPDX-License-Identifier: Apache-2.0
// The scope of a request (RFC 9484 4.6, 4.8): which targets and which protocol it is for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "core/capsule/uri_template.h"
#include "core/ip/address.h"

namespace masque {

struct Scope {
  enum class Target : uint8_t { Any, Prefix, Name };
  Target target = Target::Any;
  IpPrefix prefix;                  // Target::Prefix; a single address is a host prefix
  std::string name;                 // Target::Name: a reg-name as sent, to be resolved
  std::optional<uint8_t> protocol;  // nullopt = any; 0 is the literal number 0 (S11)

  friend bool operator==(const Scope&, const Scope&) = default;
};

constexpr size_t kScopeNameMax = 253;  // of a DNS name in text

// Decoded variables; nullopt = the template has no such variable or it was absent = `*`. Anything
// that is not in the grammar is BadSyntax, host bits HostBitsSet: the request is malformed (S5).
Result<Scope> parse_scope(const UriTemplate::Values& values);
// What a client puts into the template.
UriTemplate::Values to_values(const Scope& scope);

}  // namespace masque
