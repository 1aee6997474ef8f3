// SPDX-License-Identifier: Apache-2.0
#include "service/files.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <format>

#include "base/mutant.h"
#include "host/system.h"

namespace masque {

namespace fs = std::filesystem;

namespace {

constexpr uint32_t kPermissionBits = 07777;
constexpr uint32_t kOthersBits = 0077;

// The user who called sudo; root's id when nobody did.
uint32_t sudo_user() {
  const char* text = getenv("SUDO_UID");
  uint32_t uid = 0;
  if (text == nullptr || geteuid() != 0) return 0;
  const auto [end, error] = std::from_chars(text, text + strlen(text), uid);
  return error == std::errc() && *end == '\0' ? uid : 0;
}

Result<void, SysError> write_all(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    TRY(const size_t written, sys::write(fd, as_bytes(text)));
    text.remove_prefix(written);
  }
  if (fsync(fd) != 0) return sys::failure("sync " + path);
  return {};
}

// A rename is on the disk when its directory is.
void sync_directory(const std::string& path) {
  if (auto fd = sys::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) fsync(fd->get());
}

}  // namespace

Result<FileText, SysError> read_text_file(const std::string& path) {
  TRY(const UniqueFd fd, sys::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat info{};
  if (fstat(fd.get(), &info) != 0) return sys::failure("stat " + path);
  if (S_ISDIR(info.st_mode)) return sys::failure(EISDIR, "read " + path);
  FileText file{.text = {}, .mode = info.st_mode & kPermissionBits, .owner = info.st_uid};
  uint8_t buffer[16 * 1024];
  while (true) {
    TRY(const size_t size, sys::read(fd.get(), buffer));
    if (size == 0) return file;
    if (file.text.size() + size > kFileBytesMax + (mutant("file.limit") ? 1 : 0))
      return sys::failure(EFBIG, "read " + path);
    file.text += as_text({buffer, size});
  }
}

std::expected<void, std::string> check_secrecy(const std::string& path, uint32_t mode,
                                               uint32_t owner) {
  if ((mode & (mutant("key_mode.group") ? 0007 : kOthersBits)) != 0 && !mutant("key_mode.remove")) {
    return std::unexpected(std::format(
        "{} has mode {:04o}, so others can read its secrets: run chmod 600 {}", path, mode, path));
  }
  if (owner != geteuid() && owner != 0 && owner != sudo_user() && !mutant("key_owner.remove")) {
    return std::unexpected(
        std::format("{} belongs to user {}, not to who runs this program: run chown {} {}", path,
                    owner, geteuid(), path));
  }
  return {};
}

std::expected<void, std::string> check_secret_file(const std::string& path) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) {
    return std::unexpected(std::format("cannot read {}: {}", path, strerror(errno)));
  }
  if (mutant("key_file.unchecked")) return {};
  return check_secrecy(path, info.st_mode & kPermissionBits, info.st_uid);
}

Result<void, SysError> write_new_file(const std::string& path, std::string_view text,
                                      unsigned mode) {
  TRY(const UniqueFd fd,
      sys::open(
          path,
          O_WRONLY | O_CREAT | (mutant("file.exclusive.remove") ? O_TRUNC : O_EXCL) | O_CLOEXEC,
          mutant("file.mode") ? 0644 : mode));
  auto written = write_all(fd.get(), text, path);
  if (!written) {
    (void)sys::unlink(path);
    return written;
  }
  sync_directory(directory_of(path));
  return {};
}

Result<void, SysError> replace_file(const std::string& path, std::string_view text, unsigned mode) {
  const std::string temporary = std::format("{}.{}.new", path, getpid());
  (void)sys::unlink(temporary);  // left by a killed process of the same id
  TRY_VOID(write_new_file(temporary, text, mode));
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    auto failed = sys::failure("rename " + temporary);
    (void)sys::unlink(temporary);
    return failed;
  }
  sync_directory(directory_of(path));
  return {};
}

Result<TemporaryDirectory, SysError> TemporaryDirectory::beside(const std::string& target) {
  const fs::path full(absolute_path(target));
  std::error_code ignored;
  std::vector<std::string> missing;
  for (fs::path above = full.parent_path(); !fs::exists(above, ignored);
       above = above.parent_path())
    missing.push_back(above.string());
  TemporaryDirectory out(std::move(missing));
  fs::create_directories(full.parent_path(), ignored);  // mkdtemp says what is wrong
  std::string path = (full.parent_path() / ("." + full.filename().string() + ".XXXXXX")).string();
  if (mkdtemp(path.data()) == nullptr) {
    return sys::failure("make a directory in " + full.parent_path().string());
  }
  out.path_ = std::move(path);
  return out;
}

TemporaryDirectory::TemporaryDirectory(TemporaryDirectory&& other) noexcept
    : parents_(std::exchange(other.parents_, {})), path_(std::exchange(other.path_, {})) {}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
  for (const std::string& parent : parents_) fs::remove(parent, ignored);  // unless in use by now
}

Result<void, SysError> TemporaryDirectory::rename_to(const std::string& target) {
  // rename(2) replaces an empty directory and fails on any other, which is what we want.
  const std::string full = absolute_path(target);
  if (rename(path_.c_str(), full.c_str()) != 0) return sys::failure("make " + target);
  path_.clear();
  parents_.clear();
  sync_directory(directory_of(full));
  return {};
}

std::string absolute_path(const std::string& path) {
  std::error_code error;
  fs::path full = fs::absolute(path, error).lexically_normal();
  if (error) return path;
  if (!full.has_filename() && full.has_parent_path()) full = full.parent_path();  // "dir/" is "dir"
  return full.string();
}

std::string directory_of(const std::string& path) {
  return fs::path(absolute_path(path)).parent_path().string();
}

std::string resolve_beside(const std::string& file, const std::string& path) {
  const fs::path wanted(path);
  if (wanted.is_absolute()) return wanted.lexically_normal().string();
  return (fs::path(directory_of(file)) / wanted).lexically_normal().string();
}

}  // namespace masque
