// SPDX-License-Identifier: Apache-2.0
#include "linkemu/emulator.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "host/clock.h"
#include "host/system.h"

namespace masque::linkemu {

namespace {

constexpr uint64_t kSignalTag = ~uint64_t{0};
constexpr int kEventsMax = 64;
constexpr Duration kBlindMax = 1ms;
constexpr Duration kWakeLatencyMax = 100us;  // more than that is a busy machine, not its habit
constexpr int kWakeLatencyWeight = 8;
constexpr int kBlindShare = 4;  // of the smallest delay

timespec to_timespec(Duration duration) {
  constexpr int64_t kSecond = 1'000'000'000;
  return {.tv_sec = duration.count() / kSecond, .tv_nsec = duration.count() % kSecond};
}

void sleep_until(Instant at) {
  const timespec when = to_timespec(at.time_since_epoch());
  ::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, nullptr);
}

Result<UniqueFd, SysError> open_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, number);
  if (const int code = ::pthread_sigmask(SIG_BLOCK, &set, nullptr); code != 0) {
    return sys::failure(code, "pthread_sigmask");
  }
  const int fd = ::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  if (fd < 0) return sys::failure("signalfd");
  return UniqueFd(fd);
}

// The seeds of both directions have nothing in common.
uint64_t seed_of(uint64_t seed, Direction direction) {
  return seed * 2 + static_cast<uint64_t>(direction);
}

}  // namespace

Emulator::Emulator(const Options& options, PacketIo& io, PacketPool& pool, Instant start)
    : options_(options),
      io_(io),
      pool_(pool),
      start_(start),
      up_(options.plans[0], seed_of(options.seed, Direction::Up), start),
      down_(options.plans[1], seed_of(options.seed, Direction::Down), start),
      queue_(options.held_max) {
  const Duration least = std::min(options.plans[0].delay_min(), options.plans[1].delay_min());
  blind_ = std::min(kBlindMax, least / kBlindShare);
}

void Emulator::on_packet(const Arrival& arrival) {
  Instant& last = last_arrival_[static_cast<size_t>(arrival.direction)];
  last = std::max(last, arrival.at);
  PlannedLink& link = arrival.direction == Direction::Up ? up_ : down_;
  const auto deliveries = link.on_packet(last, arrival.ip_size);
  if (deliveries.empty()) {
    pool_.give_back(arrival.slot);
    return;
  }
  // The copy is made before the first may be damaged.
  if (deliveries.size() > 1 && !pool_.empty()) {
    const Slot copy = pool_.take();
    pool_.info(copy) = pool_.info(arrival.slot);
    std::memcpy(pool_.room(copy).data(), pool_.room(arrival.slot).data(), pool_.info(copy).size);
    hold(deliveries[1].at, arrival.direction, copy, deliveries[1].content);
  }
  hold(deliveries[0].at, arrival.direction, arrival.slot, deliveries[0].content);
}

void Emulator::hold(Instant at, Direction direction, Slot slot, Link::Delivery::Content content) {
  if (queue_.full()) {
    ++counters_.held_dropped;
    pool_.give_back(slot);
    return;
  }
  if (content == Link::Delivery::Content::Corrupted) {
    flip_bits(io_.payload(slot), (direction == Direction::Up ? up_ : down_).damage());
  }
  queue_.push(at, direction, slot);
  counters_.held_max = std::max<uint64_t>(counters_.held_max, queue_.size());
}

void Emulator::send(Direction direction) {
  Outgoing& out = outgoing_[static_cast<size_t>(direction)];
  if (out.count == 0) return;
  const auto slots = std::span(out.slots).first(out.count);
  io_.send(direction, slots);
  const Instant now = monotonic_now();
  for (size_t i = 0; i < out.count; ++i) {
    delay_error_.add(now - out.due[i]);
    counters_.sent_bytes[static_cast<size_t>(direction)] += pool_.info(slots[i]).size;
    pool_.give_back(slots[i]);
  }
  counters_.sent_packets[static_cast<size_t>(direction)] += out.count;
  out.count = 0;
}

void Emulator::release(Instant now) {
  const Instant until = now + options_.precision;
  while (!queue_.empty() && queue_.first().at <= until) {
    const ReleaseQueue::Release release = queue_.pop();
    Outgoing& out = outgoing_[static_cast<size_t>(release.direction)];
    out.slots[out.count] = release.slot;
    out.due[out.count++] = release.at;
    if (out.count == kSendMax) send(release.direction);
  }
  send(Direction::Up);
  send(Direction::Down);
}

void Emulator::on_wake(Instant wanted, Instant now) {
  const Duration late = std::clamp(now - wanted, Duration::zero(), kWakeLatencyMax);
  wake_latency_ += (late - wake_latency_) / kWakeLatencyWeight;
}

Result<bool, SysError> Emulator::read(Duration wait) {
  std::array<epoll_event, kEventsMax> events{};
  const timespec timeout = to_timespec(std::max(wait, Duration::zero()));
  const int count = ::epoll_pwait2(epoll_.get(), events.data(), kEventsMax, &timeout, nullptr);
  if (count < 0 && errno != EINTR) return sys::failure("epoll_pwait2");
  more_ = false;
  bool any = false;
  for (int i = 0; i < count; ++i) {
    const uint64_t tag = events[static_cast<size_t>(i)].data.u64;
    if (tag == kSignalTag) {
      stopped_ = true;
      continue;
    }
    any = true;
    if (io_.receive(tag, *this) == PacketIo::More::Maybe) more_ = true;
  }
  return any;
}

Result<void, SysError> Emulator::run(const std::function<void(Instant)>& report) {
  TRY(signals_, open_signals());
  epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_.valid()) return sys::failure("epoll_create1");
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kSignalTag}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, signals_.get(), &event) < 0) {
    return sys::failure("epoll_ctl");
  }
  TRY_VOID(io_.watch(epoll_.get()));
  ::prctl(PR_SET_TIMERSLACK, 1UL);  // the kernel's default of 50 us would add to each delay

  constexpr Instant kNever = Instant::max();
  Instant report_at = options_.interval > Duration::zero() ? start_ + options_.interval : kNever;
  const Instant end_at = options_.run_for > Duration::zero() ? start_ + options_.run_for : kNever;
  Instant look_again{};
  while (!stopped_) {
    Instant now = monotonic_now();
    release(now);
    if (now >= end_at) break;
    if (now >= report_at) {
      report(now);
      report_at = std::max(report_at + options_.interval, now);
    }
    Instant wake = std::min(report_at, end_at);
    if (!queue_.empty()) wake = std::min(wake, queue_.first().at - wake_latency_);
    if (!more_ && look_again > now && wake > now) {
      const Instant until = std::min(look_again, wake);
      sleep_until(until);
      now = monotonic_now();
      on_wake(until, now);
      if (wake <= now) continue;
    }
    constexpr Duration kWaitMax = 10s;
    const Instant until = std::min(wake, now + kWaitMax);
    TRY(const bool any, read(until - now));
    if (!any && until > now && !stopped_) on_wake(until, monotonic_now());
    // Looking at an empty socket ends it: then the next packet wakes the loop up at once.
    look_again = any ? monotonic_now() + blind_ : Instant{};
  }
  return {};
}

}  // namespace masque::linkemu
