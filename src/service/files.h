// SPDX-License-Identifier: Apache-2.0
// Files as the control plane needs them: read whole with a limit, secrets checked for who can read
// them (faults.md I8), written so that a crash leaves either all of a file or nothing.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace masque {

constexpr size_t kFileBytesMax = size_t{1} << 20;

struct FileText {
  std::string text;
  uint32_t mode = 0;  // permission bits of the file itself, symlinks followed
  uint32_t owner = 0;
};
// EFBIG beyond kFileBytesMax; EINVAL when it is not a regular file.
Result<FileText, SysError> read_text_file(const std::string& path);

// Whether a secret may lie in such a file: readable by its owner alone, and the owner is who runs
// this program, root, or the user behind sudo. The error says what to do.
std::expected<void, std::string> check_secrecy(const std::string& path, uint32_t mode,
                                               uint32_t owner);
// The same for a path that is only going to be read later; a missing file is an error too.
std::expected<void, std::string> check_secret_file(const std::string& path);

// Creates `path`, which must not exist, with these contents and mode, and syncs it.
Result<void, SysError> write_new_file(const std::string& path, std::string_view text,
                                      unsigned mode);
// Replaces `path` as a whole by a synced file of that mode.
Result<void, SysError> replace_file(const std::string& path, std::string_view text, unsigned mode);

// A new directory (mode 0700) beside `target`, removed with all it contains unless renamed to it,
// and with the directories above it that were not there before.
class TemporaryDirectory {
 public:
  static Result<TemporaryDirectory, SysError> beside(const std::string& target);
  TemporaryDirectory(TemporaryDirectory&& other) noexcept;
  TemporaryDirectory& operator=(TemporaryDirectory&&) = delete;
  ~TemporaryDirectory();

  const std::string& path() const { return path_; }
  // Becomes `target` in one step; EEXIST when that is there already and not an empty directory.
  Result<void, SysError> rename_to(const std::string& target);

 private:
  explicit TemporaryDirectory(std::vector<std::string> parents) : parents_(std::move(parents)) {}
  std::vector<std::string> parents_;  // made for it, the deepest first
  std::string path_;
};

// `path` as seen from the directory of `file`; absolute paths stay.
std::string resolve_beside(const std::string& file, const std::string& path);
std::string absolute_path(const std::string& path);
std::string directory_of(const std::string& path);

}  // namespace masque
