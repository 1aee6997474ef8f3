// SPDX-License-Identifier: Apache-2.0
// One thread's loop over epoll, with one timer deadline, signals and a way in for other threads.
//
// A turn: (1) wait for descriptors, the deadline or a post, (2) callbacks of ready descriptors, at
// most kEventsPerTurn, (3) posted functions, (4) the deadline's callback when it is due, (5) the
// end-of-turn callback. Level-triggered: a callback does a bounded amount of work and returns; what
// is left is reported again in the next turn, after the others had theirs. A turn allocates
// nothing.
//
// Only post() and stop() may be called from other threads. Callbacks may add and remove any
// descriptor, their own included; a removed one is never called again, even if it was ready.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>

#include "base/result.h"
#include "base/time.h"

namespace masque {

class EventLoop {
 public:
  static constexpr int kEventsPerTurn = 64;

  enum Interest : uint8_t { kNone = 0, kReadable = 1, kWritable = 2, kReadWrite = 3 };
  struct Ready {
    bool readable = false;
    bool writable = false;
    bool failed = false;  // error or hang-up: read to learn which
  };
  using Callback = std::move_only_function<void(Ready)>;

  static Result<std::unique_ptr<EventLoop>, SysError> create();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // The descriptor stays the caller's, who removes it before closing it.
  Result<void, SysError> add(int fd, Interest interest, Callback callback);
  Result<void, SysError> modify(int fd, Interest interest);
  void remove(int fd);

  // Blocks these signals for the calling thread (and those it starts later) and delivers them here.
  // To be called once, before any other thread runs.
  Result<void, SysError> watch_signals(std::initializer_list<int> signals,
                                       std::move_only_function<void(int)> callback);

  // `callback(now)` runs once when `deadline` is reached; a new deadline replaces the former.
  void set_deadline(std::optional<Instant> deadline);
  void set_on_deadline(std::move_only_function<void(Instant)> callback);
  // Runs at the end of each turn: the place to send what callbacks produced and to set the
  // deadline.
  void set_on_turn(std::move_only_function<void()> callback);

  // From any thread: `work` runs in the loop's thread.
  void post(std::move_only_function<void()> work);

  Result<void, SysError> run();  // until stop()
  // One turn that waits at most `wait`; for tests.
  Result<void, SysError> run_once(Duration wait);
  void stop();

 private:
  struct Impl;
  explicit EventLoop(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace masque
