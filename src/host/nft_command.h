// SPDX-License-Identifier: Apache-2.0
// Runs commands of the nft language through libnftables; each call is one transaction. For the
// sources of host that own a table: nat.cc and return_path.cc.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "core/ip/address.h"

namespace masque::nft {

Result<void, SysError> run(const std::string& commands, const std::string& operation);

// Interface names are free text to the kernel. Only letters, digits and "_-." are kept, others
// become
// '_', so that a name cannot say anything else in nft's language.
std::string quoted(const std::string& interface_name);
// "masque_vpn_" and the name in the characters of an identifier.
std::string table_name(const std::string& interface_name);
// Deletes the table of family inet, also when there is none.
std::string removal(const std::string& table);
// The prefixes of one family, "a, b", merged as a set wants them; empty when there are none.
std::string prefix_list(const std::vector<IpPrefix>& prefixes, IpVersion version);

}  // namespace masque::nft
