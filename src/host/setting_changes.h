// SPDX-License-Identifier: Apache-2.0
// Settings below /proc/sys/net that we change for as long as the object lives. Each gets its former
// value back, but for those that somebody else has changed meanwhile. A note of the changes, in a
// directory that a reboot empties, lets the next run put back what a killed one could not.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace masque {

class SettingChanges {
 public:
  // Puts back what `note` says that an earlier run changed, whatever this one is going to do.
  // Empty: no memory beyond this object.
  explicit SettingChanges(std::string note = {});
  ~SettingChanges() { put_back(); }
  SettingChanges(SettingChanges&& other) noexcept
      : changes_(std::exchange(other.changes_, {})), note_(std::exchange(other.note_, {})) {}
  SettingChanges& operator=(SettingChanges&&) = delete;

  // Nothing to be done when the setting reads so already.
  Result<void, SysError> change(const std::string& file, const std::string& to);
  void put_back();  // all changes, and the note goes

  // The value without the line's end.
  static Result<std::string, SysError> read(const std::string& file);

 private:
  struct Change {
    std::string file;
    std::string before;
    std::string now;
  };
  void write_note() const;
  void recall();
  std::vector<Change> changes_;  // in the order in which they were made
  std::string note_;
};

}  // namespace masque
