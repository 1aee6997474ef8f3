// SPDX-License-Identifier: Apache-2.0
// One wrapper for each system call that may fail in an interesting way. EINTR is retried; every
// other failure comes back as SysError with the operation in words, so that callers only add what
// they know. Linux headers stay out of here: structures of the kernel are named, not defined.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "base/time.h"
#include "host/unique_fd.h"

struct sockaddr;

namespace masque::sys {

template <class T>
using SysResult = Result<T, SysError>;

// errno of the call that just failed, with the operation in words.
std::unexpected<SysError> failure(std::string operation);
std::unexpected<SysError> failure(int code, std::string operation);
// True for EAGAIN: nothing is wrong, the descriptor is not ready.
bool would_block(const SysError& error);

SysResult<UniqueFd> open(const std::string& path, int flags, unsigned mode = 0);
SysResult<size_t> read(int fd, MutableBytes out);
SysResult<size_t> write(int fd, Bytes data);

SysResult<UniqueFd> socket(int family, int type,
                           int protocol);  // always close-on-exec, non-blocking
SysResult<void> bind(int fd, const sockaddr* address, uint32_t length);
SysResult<void> connect(int fd, const sockaddr* address, uint32_t length);
SysResult<void> listen(int fd, int backlog);
SysResult<UniqueFd> accept(int fd);  // close-on-exec, non-blocking
SysResult<void> set_option(int fd, int level, int name, int value, std::string_view what);
SysResult<void> set_option(int fd, int level, int name, Bytes value, std::string_view what);
SysResult<int> option(int fd, int level, int name, std::string_view what);
SysResult<size_t> send(int fd, Bytes data);  // MSG_NOSIGNAL
SysResult<size_t> receive(int fd, MutableBytes out);

SysResult<UniqueFd> event_fd();
SysResult<UniqueFd> timer_fd();                               // CLOCK_MONOTONIC
SysResult<void> set_timer(int fd, uint64_t at_monotonic_ns);  // 0 disarms
// Waits for one of POLLIN / POLLOUT; false when `timeout_ms` passed first.
SysResult<bool> poll_one(int fd, short events, int timeout_ms);

void sleep(
    Duration duration);  // for the few places that wait for the kernel; never on the packet path

SysResult<void> unlink(const std::string& path);
SysResult<void> chmod(const std::string& path, unsigned mode);
// Whole small files of /proc and /sys.
SysResult<std::string> read_file(const std::string& path);
SysResult<void> write_file(const std::string& path, std::string_view text);

}  // namespace masque::sys
