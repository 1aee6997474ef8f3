// SPDX-License-Identifier: Apache-2.0
// Writes leases from a thread of its own, so that the worker never waits for the disk. Writes of
// one prefix that wait together become one; a full or failing disk is tried again every kRetryDelay
// while forwarding goes on, and logged once a minute (`store.write_failed`). The destructor flushes
// once.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "service/store/store.h"

namespace masque {

class StoreWriter {
 public:
  static constexpr size_t kPendingMax = 65'536;  // prefixes that wait for the disk
  static constexpr Duration kRetryDelay = 5s;
  static constexpr Duration kLogInterval = 60s;

  explicit StoreWriter(std::unique_ptr<Store> store, Duration retry_delay = kRetryDelay);
  ~StoreWriter();
  StoreWriter(const StoreWriter&) = delete;
  StoreWriter& operator=(const StoreWriter&) = delete;

  // Never block for longer than a map insertion. Over kPendingMax the write is dropped and counted.
  void put_lease(Lease lease);
  void remove_lease(const IpPrefix& prefix);
  // Waits until everything that was put is on the disk or `timeout` has passed.
  bool flush(Duration timeout);

  uint64_t dropped() const { return dropped_; }
  uint64_t failures() const { return failures_; }

 private:
  using Pending = std::map<IpPrefix, std::optional<Lease>>;  // nullopt: remove

  void put(const IpPrefix& prefix, std::optional<Lease> lease);
  void run();
  bool write(const Pending& batch);

  std::unique_ptr<Store> store_;
  const Duration retry_delay_;
  std::mutex mutex_;
  std::condition_variable wake_;  // work, or stop
  std::condition_variable idle_;  // nothing waits any more
  Pending pending_;
  bool writing_ = false;
  bool stopping_ = false;
  std::atomic<uint64_t> dropped_ = 0;
  std::atomic<uint64_t> failures_ = 0;
  std::thread thread_;  // last: it uses the others
};

}  // namespace masque
