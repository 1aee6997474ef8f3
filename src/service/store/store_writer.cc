// SPDX-License-Identifier: Apache-2.0
#include "service/store/store_writer.h"

#include "base/log.h"
#include "host/clock.h"

namespace masque {

StoreWriter::StoreWriter(std::unique_ptr<Store> store, Duration retry_delay)
    : store_(std::move(store)), retry_delay_(retry_delay), thread_([this] { run(); }) {}

StoreWriter::~StoreWriter() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void StoreWriter::put_lease(Lease lease) {
  const IpPrefix prefix = lease.prefix;
  put(prefix, std::move(lease));
}

void StoreWriter::remove_lease(const IpPrefix& prefix) { put(prefix, std::nullopt); }

void StoreWriter::put(const IpPrefix& prefix, std::optional<Lease> lease) {
  {
    const std::lock_guard lock(mutex_);
    if (pending_.size() >= kPendingMax && !pending_.contains(prefix)) {
      ++dropped_;
      return;
    }
    pending_.insert_or_assign(prefix, std::move(lease));
  }
  wake_.notify_one();
}

bool StoreWriter::flush(Duration timeout) {
  std::unique_lock lock(mutex_);
  wake_.notify_all();
  return idle_.wait_for(lock, timeout, [this] { return pending_.empty() && !writing_; });
}

bool StoreWriter::write(const Pending& batch) {
  std::vector<Lease> put;
  std::vector<IpPrefix> remove;
  for (const auto& [prefix, lease] : batch)
    lease ? put.push_back(*lease) : remove.push_back(prefix);
  const auto done = store_->change_leases(put, remove);
  if (done) return true;
  static_assert(kLogInterval >= kRetryDelay);
  constexpr uint64_t kFailuresPerLine = kLogInterval / kRetryDelay;
  if (failures_++ % kFailuresPerLine == 0) {
    log_warn("store.write_failed", {{"error", done.error().text}, {"waiting", batch.size()}});
  }
  return false;
}

void StoreWriter::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !pending_.empty(); });
    if (pending_.empty()) return;
    Pending batch = std::exchange(pending_, {});
    writing_ = true;
    lock.unlock();
    const bool written = write(batch);
    lock.lock();
    writing_ = false;
    if (written) {
      if (pending_.empty()) idle_.notify_all();
      continue;
    }
    // Newer writes win over the batch that goes back.
    pending_.merge(batch);
    if (stopping_) return;
    wake_.wait_for(lock, retry_delay_, [this] { return stopping_; });
  }
}

}  // namespace masque
