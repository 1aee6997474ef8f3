// SPDX-License-Identifier: Apache-2.0
#include "sim/world.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <format>
#include <memory>

#include "base/assert.h"

namespace masque {

namespace {

constexpr size_t kViolationsKept = 10;

// Eight bytes at a time: every byte on every wire goes through it.
uint64_t digest(Bytes bytes) {
  uint64_t hash = bytes.size();
  while (!bytes.empty()) {
    const size_t count = std::min<size_t>(bytes.size(), 8);
    uint64_t word = 0;
    std::memcpy(&word, bytes.data(), count);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 29;
    bytes = bytes.subspan(count);
  }
  return hash;
}

}  // namespace

// MASQUE_TRACE=1 prints every trace record, to compare two runs with diff.
World::World(uint64_t seed) : rng_(seed), print_trace_(std::getenv("MASQUE_TRACE") != nullptr) {}

void World::at(Instant when, std::move_only_function<void()> what) {
  MASQUE_ASSERT(when >= now_);
  queue_.push({.when = when, .order = planned_++, .what = std::move(what)});
}

void World::every(Duration interval, std::function<bool()> what) {
  after(interval, [this, interval, what = std::move(what)] {
    if (what()) every(interval, what);
  });
}

bool World::step(Instant limit) {
  if (queue_.empty() || queue_.top().when > limit) {
    now_ = limit;
    return false;
  }
  now_ = queue_.top().when;
  auto what = std::move(queue_.top().what);
  queue_.pop();
  ++events_;
  const int64_t second = now_.time_since_epoch() / 1s;
  if (second != current_second_) {
    current_second_ = second;
    events_in_second_ = 0;
  }
  if (++events_in_second_ == events_per_second_max_) {
    violation(std::format("I-10: {} events in one second: a livelock", events_in_second_));
    now_ = limit;  // there is no use in going on
    queue_ = {};
    return false;
  }
  what();
  return true;
}

void World::run_for(Duration duration) {
  const Instant limit = now_ + duration;
  while (step(limit)) {
  }
}

bool World::run_until(const std::function<bool()>& condition, Duration limit_after) {
  const Instant limit = now_ + limit_after;
  if (condition()) return true;
  while (step(limit)) {
    if (condition()) return true;
  }
  return false;
}

void World::trace(TraceKind kind, uint64_t a, uint64_t b, uint64_t c, Bytes content) {
  const uint64_t d = digest(content);
  for (const uint64_t value : {to_ns(now_), static_cast<uint64_t>(kind), a, b, c, d}) {
    hash_ = (hash_ ^ value) * 0x9e3779b97f4a7c15;
    hash_ ^= hash_ >> 31;
  }
  ++traced_;
  if (print_trace_) {
    std::fprintf(stderr, "%.9f %u %llx %llu %llu %016llx\n",
                 std::chrono::duration<double>(now_.time_since_epoch()).count(),
                 static_cast<unsigned>(kind), static_cast<unsigned long long>(a),
                 static_cast<unsigned long long>(b), static_cast<unsigned long long>(c),
                 static_cast<unsigned long long>(d));
  }
}

void World::violation(std::string text) {
  ++violation_count_;
  if (violations_.size() >= kViolationsKept) return;
  violations_.push_back(std::format(
      "{:.6f} s: {}", std::chrono::duration<double>(now_.time_since_epoch()).count(), text));
}

}  // namespace masque
