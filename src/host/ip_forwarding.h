// SPDX-License-Identifier: Apache-2.0
// Switches IP forwarding on for as long as the object lives, and puts back what was there before.
// Only made when the operator asked for it. A value that was on already is left alone.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "core/ip/address.h"
#include "host/setting_changes.h"

namespace masque {

class IpForwarding {
 public:
  // For each family given. EROFS or ENOENT (container, no IPv6) come back as errors that say so,
  // unless forwarding is already on. `note`: see setting_changes.h.
  static Result<IpForwarding, SysError> enable(const std::vector<IpVersion>& families,
                                               std::string note = {});
  // For a run that wants no forwarding: what a killed one left switched on goes off.
  static void recall(std::string note) { const SettingChanges earlier(std::move(note)); }

  static Result<bool, SysError> enabled(IpVersion family);

 private:
  explicit IpForwarding(std::string note) : settings_(std::move(note)) {}
  Result<void, SysError> keep_accepting_router_advertisements();
  SettingChanges settings_;
};

}  // namespace masque
