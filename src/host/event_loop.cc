// SPDX-License-Identifier: Apache-2.0
#include "host/event_loop.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <format>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/assert.h"
#include "host/clock.h"
#include "host/system.h"

namespace masque {
namespace {

uint32_t to_epoll(EventLoop::Interest interest) {
  uint32_t events = 0;
  if (interest & EventLoop::kReadable) events |= EPOLLIN;
  if (interest & EventLoop::kWritable) events |= EPOLLOUT;
  return events;
}

// A descriptor's number may be used again within a turn, so epoll carries a slot and its
// generation.
struct Slot {
  int fd = -1;
  uint32_t generation = 0;
  EventLoop::Callback callback;
};

uint64_t token_of(size_t index, uint32_t generation) { return uint64_t{generation} << 32 | index; }

}  // namespace

struct EventLoop::Impl {
  UniqueFd epoll;
  UniqueFd wake;
  UniqueFd signals;
  std::vector<std::unique_ptr<Slot>> slots;  // stable addresses: a callback may add slots
  std::vector<uint32_t> free_slots;
  std::vector<std::unique_ptr<Slot>>
      removed;  // freed at the end of the turn, not under their own feet
  std::unordered_map<int, uint32_t> slot_of_fd;

  std::optional<Instant> deadline;
  std::move_only_function<void(Instant)> on_deadline;
  std::move_only_function<void()> on_turn;
  std::move_only_function<void(int)> on_signal;

  std::mutex posted_mutex;
  std::vector<std::move_only_function<void()>> posted;
  std::vector<std::move_only_function<void()>> running;  // the posts of this turn
  std::atomic<bool> stopping = false;
  std::array<epoll_event, kEventsPerTurn> events{};

  Result<int, SysError> wait(std::optional<Duration> at_most);
  void dispatch(const epoll_event& event);
  void run_posted();
  void read_signals();
  Result<void, SysError> turn(std::optional<Duration> at_most);
};

EventLoop::EventLoop(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EventLoop::~EventLoop() = default;

Result<std::unique_ptr<EventLoop>, SysError> EventLoop::create() {
  auto impl = std::make_unique<Impl>();
  impl->epoll = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!impl->epoll.valid()) return sys::failure("make an epoll descriptor");
  TRY(impl->wake, sys::event_fd());
  auto loop = std::unique_ptr<EventLoop>(new EventLoop(std::move(impl)));
  Impl& inner = *loop->impl_;
  TRY_VOID(loop->add(inner.wake.get(), kReadable, [&inner](Ready) {
    uint64_t count = 0;
    (void)sys::read(inner.wake.get(),
                    MutableBytes(reinterpret_cast<uint8_t*>(&count), sizeof count));
  }));
  return loop;
}

Result<void, SysError> EventLoop::add(int fd, Interest interest, Callback callback) {
  MASQUE_ASSERT(!impl_->slot_of_fd.contains(fd));
  uint32_t index = static_cast<uint32_t>(impl_->slots.size());
  if (!impl_->free_slots.empty()) {
    index = impl_->free_slots.back();
    impl_->free_slots.pop_back();
  } else {
    impl_->slots.push_back(std::make_unique<Slot>());
  }
  Slot& slot = *impl_->slots[index];
  slot.fd = fd;
  slot.callback = std::move(callback);
  impl_->slot_of_fd[fd] = index;
  epoll_event event{.events = to_epoll(interest),
                    .data = {.u64 = token_of(index, slot.generation)}};
  if (::epoll_ctl(impl_->epoll.get(), EPOLL_CTL_ADD, fd, &event) < 0) {
    auto error = sys::failure(std::format("watch descriptor {}", fd));
    remove(fd);
    return error;
  }
  return {};
}

Result<void, SysError> EventLoop::modify(int fd, Interest interest) {
  const auto found = impl_->slot_of_fd.find(fd);
  MASQUE_ASSERT(found != impl_->slot_of_fd.end());
  const Slot& slot = *impl_->slots[found->second];
  epoll_event event{.events = to_epoll(interest),
                    .data = {.u64 = token_of(found->second, slot.generation)}};
  if (::epoll_ctl(impl_->epoll.get(), EPOLL_CTL_MOD, fd, &event) < 0) {
    return sys::failure(std::format("watch descriptor {}", fd));
  }
  return {};
}

void EventLoop::remove(int fd) {
  const auto found = impl_->slot_of_fd.find(fd);
  if (found == impl_->slot_of_fd.end()) return;
  const uint32_t index = found->second;
  impl_->slot_of_fd.erase(found);
  ::epoll_ctl(impl_->epoll.get(), EPOLL_CTL_DEL, fd, nullptr);
  auto fresh = std::make_unique<Slot>();
  fresh->generation = impl_->slots[index]->generation + 1;
  impl_->removed.push_back(std::exchange(impl_->slots[index], std::move(fresh)));
  impl_->removed.back()->fd = -1;
  impl_->free_slots.push_back(index);
}

Result<void, SysError> EventLoop::watch_signals(std::initializer_list<int> signals,
                                                std::move_only_function<void(int)> callback) {
  MASQUE_ASSERT(!impl_->signals.valid());
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : signals) ::sigaddset(&set, signal);
  if (const int code = ::pthread_sigmask(SIG_BLOCK, &set, nullptr); code != 0) {
    return sys::failure(code, "block signals");
  }
  impl_->signals = UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!impl_->signals.valid()) return sys::failure("make a signalfd");
  impl_->on_signal = std::move(callback);
  return add(impl_->signals.get(), kReadable,
             [impl = impl_.get()](Ready) { impl->read_signals(); });
}

void EventLoop::Impl::read_signals() {
  signalfd_siginfo info{};
  const auto count =
      sys::read(signals.get(), MutableBytes(reinterpret_cast<uint8_t*>(&info), sizeof info));
  if (count && *count == sizeof info) on_signal(static_cast<int>(info.ssi_signo));
}

void EventLoop::set_deadline(std::optional<Instant> deadline) { impl_->deadline = deadline; }
void EventLoop::set_on_deadline(std::move_only_function<void(Instant)> callback) {
  impl_->on_deadline = std::move(callback);
}
void EventLoop::set_on_turn(std::move_only_function<void()> callback) {
  impl_->on_turn = std::move(callback);
}

void EventLoop::post(std::move_only_function<void()> work) {
  {
    const std::lock_guard lock(impl_->posted_mutex);
    impl_->posted.push_back(std::move(work));
  }
  const uint64_t one = 1;
  (void)sys::write(impl_->wake.get(), Bytes(reinterpret_cast<const uint8_t*>(&one), sizeof one));
}

void EventLoop::stop() {
  impl_->stopping = true;
  post([] {});
}

Result<void, SysError> EventLoop::run() {
  while (!impl_->stopping) TRY_VOID(impl_->turn(std::nullopt));
  impl_->stopping = false;  // may run again
  return {};
}

Result<void, SysError> EventLoop::run_once(Duration wait) { return impl_->turn(wait); }

// Waits with nanoseconds (epoll_pwait2, Linux 5.11); with whole milliseconds, rounded up,
// elsewhere.
Result<int, SysError> EventLoop::Impl::wait(std::optional<Duration> at_most) {
  timespec timeout{};
  if (at_most) {
    const Duration rest = std::max(*at_most, Duration::zero());
    timeout.tv_sec = static_cast<time_t>(rest / 1s);
    timeout.tv_nsec = static_cast<long>((rest % 1s).count());
  }
  int count = ::epoll_pwait2(epoll.get(), events.data(), kEventsPerTurn,
                             at_most ? &timeout : nullptr, nullptr);
  if (count < 0 && (errno == ENOSYS || errno == EPERM)) {  // EPERM: an old seccomp filter
    const auto ms = at_most ? std::chrono::ceil<std::chrono::milliseconds>(
                                  std::clamp(*at_most, Duration(0), Duration(1h)))
                                  .count()
                            : std::chrono::milliseconds::rep{-1};
    count = ::epoll_wait(epoll.get(), events.data(), kEventsPerTurn, static_cast<int>(ms));
  }
  if (count < 0 && errno == EINTR) return 0;
  if (count < 0) return sys::failure("wait for events");
  return count;
}

void EventLoop::Impl::dispatch(const epoll_event& event) {
  const auto index = static_cast<uint32_t>(event.data.u64);
  const auto generation = static_cast<uint32_t>(event.data.u64 >> 32);
  Slot& slot = *slots[index];
  if (slot.fd < 0 || slot.generation != generation) return;  // removed earlier in this turn
  slot.callback({.readable = (event.events & (EPOLLIN | EPOLLRDHUP)) != 0,
                 .writable = (event.events & EPOLLOUT) != 0,
                 .failed = (event.events & (EPOLLERR | EPOLLHUP)) != 0});
}

// Only what was posted before this turn: work that posts work waits for the next one.
void EventLoop::Impl::run_posted() {
  {
    const std::lock_guard lock(posted_mutex);
    if (posted.empty()) return;
    std::swap(posted, running);
  }
  for (auto& work : running) work();
  running.clear();
}

Result<void, SysError> EventLoop::Impl::turn(std::optional<Duration> at_most) {
  if (deadline) {
    const Duration rest = *deadline - monotonic_now();
    at_most = at_most ? std::min(*at_most, rest) : rest;
  }
  TRY(const int count, wait(at_most));
  for (int i = 0; i < count; ++i) dispatch(events[static_cast<size_t>(i)]);
  run_posted();
  if (deadline) {
    if (const Instant now = monotonic_now(); *deadline <= now) {
      deadline.reset();
      if (on_deadline) on_deadline(now);
    }
  }
  if (on_turn) on_turn();
  if (!removed.empty()) {
    const auto gone = std::exchange(removed, {});  // their destructors may remove others
  }
  return {};
}

}  // namespace masque
