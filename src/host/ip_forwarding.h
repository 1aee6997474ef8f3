// SPDX-License-Identifier: Apache-2.0
// Switches IP forwarding on for as long as the object lives, and puts back what was there before.
// Only made when the operator asked for it. A value that was on already, or that somebody else
// changed meanwhile, is left alone. A note of the changes lets the run after a crash put them back.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "core/ip/address.h"

namespace masque {

class IpForwarding {
 public:
  // For each family given. EROFS or ENOENT (container, no IPv6) come back as errors that say so,
  // unless forwarding is already on.
  // `note`: a file of ours in a directory that a reboot empties; empty: no memory beyond this
  // object.
  static Result<IpForwarding, SysError> enable(const std::vector<IpVersion>& families,
                                               std::string note = {});
  ~IpForwarding();
  IpForwarding(IpForwarding&& other) noexcept
      : changes_(std::exchange(other.changes_, {})), note_(std::exchange(other.note_, {})) {}
  IpForwarding& operator=(IpForwarding&&) = delete;

  static Result<bool, SysError> enabled(IpVersion family);

 private:
  struct Change {
    std::string file;
    std::string before;
    std::string now;
  };
  IpForwarding() = default;
  Result<void, SysError> change(const std::string& file, const std::string& to);
  Result<void, SysError> keep_accepting_router_advertisements();
  void write_note() const;
  void recall();                 // what the note says an earlier run changed
  void put_back();               // all changes, and the note goes
  std::vector<Change> changes_;  // in the order in which they were made
  std::string note_;
};

}  // namespace masque
