// SPDX-License-Identifier: Apache-2.0
// From the configuration and the users in the database to the gateway's policy: pure, made anew and
// swapped whole whenever either changes, or the host's addresses do.
#pragma once

#include <memory>

#include "core/server/policy.h"
#include "service/config/config.h"
#include "service/store/user_directory.h"

namespace masque {

// `host`: what the kernel takes for the host itself outside the tunnel (host_addresses.h).
std::unique_ptr<const PolicySnapshot> build_policy(const ServerConfig& config,
                                                   const UserDirectory& users,
                                                   const std::vector<IpPrefix>& host);

// SHA-256, as GatewayConfig::hash_token wants it.
TokenHash hash_token(Bytes token);

}  // namespace masque
