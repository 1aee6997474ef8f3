// SPDX-License-Identifier: Apache-2.0
#include "host/resolver.h"

#include <netdb.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <format>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>

#include "host/clock.h"
#include "host/event_loop.h"
#include "host/socket_name.h"
#include "host/system.h"

namespace masque {
namespace {

struct Done {
  uint64_t id;
  Resolver::Answer answer;
};

// What the threads share with the loop; the last of them frees it, so a thread may outlive the
// Resolver.
struct Mailbox {
  UniqueFd event;
  std::mutex mutex;
  std::vector<Done> done;
  size_t threads = 0;

  bool take_thread() {
    const std::lock_guard lock(mutex);
    if (threads == Resolver::kThreadsMax) return false;
    ++threads;
    return true;
  }
  void give_thread_back() {
    const std::lock_guard lock(mutex);
    --threads;
  }
  void put(uint64_t id, Resolver::Answer answer) {
    {
      const std::lock_guard lock(mutex);
      done.push_back({.id = id, .answer = std::move(answer)});
    }
    const uint64_t one = 1;
    (void)sys::write(event.get(), Bytes(reinterpret_cast<const uint8_t*>(&one), sizeof one));
  }
};

int to_errno(int code) {
  switch (code) {
    case EAI_SYSTEM:
      return errno;
    case EAI_AGAIN:
      return EAGAIN;
    case EAI_MEMORY:
      return ENOMEM;
    default:
      return ENXIO;  // no such address: the sentence says why
  }
}

Resolver::Answer look_up(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* list = nullptr;
  if (const int code = ::getaddrinfo(host.c_str(), nullptr, &hints, &list); code != 0) {
    const int error = to_errno(code);
    return sys::failure(error, std::format("resolve {} ({})", host, ::gai_strerror(code)));
  }
  std::vector<SocketAddress> found;
  for (const addrinfo* entry = list; entry != nullptr && found.size() < Resolver::kAddressesMax;
       entry = entry->ai_next) {
    SocketName name;
    if (entry->ai_family != AF_INET && entry->ai_family != AF_INET6) continue;
    std::memcpy(&name.v6, entry->ai_addr, std::min<size_t>(entry->ai_addrlen, sizeof name.v6));
    SocketAddress address = to_socket_address(name);
    address.port = port;
    if (!std::ranges::contains(found, address)) found.push_back(address);
  }
  ::freeaddrinfo(list);
  if (found.empty()) return sys::failure(ENXIO, std::format("resolve {} (no address)", host));
  return found;
}

std::optional<IpAddress> literal(std::string_view host) {
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  const auto address = IpAddress::parse(host);
  return address ? std::optional(*address) : std::nullopt;
}

}  // namespace

struct Resolver::Impl {
  struct Request {
    std::string host;
    Instant deadline;
    Callback callback;
  };
  EventLoop& loop;
  UniqueFd timer;
  std::shared_ptr<Mailbox> mailbox = std::make_shared<Mailbox>();
  std::map<uint64_t, Request> requests;
  uint64_t next_id = 1;

  explicit Impl(EventLoop& the_loop) : loop(the_loop) {}
  void start_thread(uint64_t id, const std::string& host, uint16_t port);
  void read_mailbox();
  void expire();
  void set_timer();
  void finish(uint64_t id, Answer answer);
};

Resolver::Resolver(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Resolver::~Resolver() {
  impl_->loop.remove(impl_->mailbox->event.get());
  impl_->loop.remove(impl_->timer.get());
}

Result<std::unique_ptr<Resolver>, SysError> Resolver::create(EventLoop& loop) {
  auto impl = std::make_unique<Impl>(loop);
  TRY(impl->mailbox->event, sys::event_fd());
  TRY(impl->timer, sys::timer_fd());
  auto resolver = std::unique_ptr<Resolver>(new Resolver(std::move(impl)));
  Impl* inner = resolver->impl_.get();
  TRY_VOID(loop.add(inner->mailbox->event.get(), EventLoop::kReadable,
                    [inner](EventLoop::Ready) { inner->read_mailbox(); }));
  TRY_VOID(loop.add(inner->timer.get(), EventLoop::kReadable,
                    [inner](EventLoop::Ready) { inner->expire(); }));
  return resolver;
}

Resolver::RequestId Resolver::resolve(const std::string& host, uint16_t port, Duration timeout,
                                      Callback callback) {
  const uint64_t id = impl_->next_id++;
  impl_->requests.emplace(id, Impl::Request{.host = host,
                                            .deadline = monotonic_now() + timeout,
                                            .callback = std::move(callback)});
  if (const auto address = literal(host)) {
    impl_->mailbox->put(id, std::vector{SocketAddress{.address = *address, .port = port}});
  } else {
    impl_->start_thread(id, host, port);
  }
  impl_->set_timer();
  return RequestId{id};
}

void Resolver::cancel(RequestId request) {
  impl_->requests.erase(static_cast<uint64_t>(request));
  impl_->set_timer();
}

void Resolver::Impl::start_thread(uint64_t id, const std::string& host, uint16_t port) {
  if (!mailbox->take_thread()) {
    return mailbox->put(
        id, sys::failure(EAGAIN, std::format("resolve {} (too many look-ups hang)", host)));
  }
  // Signals belong to the loop's thread.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  try {
    std::thread([box = mailbox, id, host, port] {
      Answer answer = look_up(host, port);
      box->give_thread_back();
      box->put(id, std::move(answer));
    }).detach();
  } catch (const std::system_error& error) {
    mailbox->give_thread_back();
    mailbox->put(
        id, sys::failure(error.code().value(), std::format("resolve {} (start a thread)", host)));
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Resolver::Impl::read_mailbox() {
  uint64_t count = 0;
  (void)sys::read(mailbox->event.get(),
                  MutableBytes(reinterpret_cast<uint8_t*>(&count), sizeof count));
  std::vector<Done> done;
  {
    const std::lock_guard lock(mailbox->mutex);
    done.swap(mailbox->done);
  }
  for (Done& item : done) finish(item.id, std::move(item.answer));
}

void Resolver::Impl::expire() {
  uint64_t count = 0;
  (void)sys::read(timer.get(), MutableBytes(reinterpret_cast<uint8_t*>(&count), sizeof count));
  const Instant now = monotonic_now();
  for (auto& [id, request] : requests) {
    if (request.deadline <= now) {
      mailbox->put(id, sys::failure(ETIMEDOUT, std::format("resolve {}", request.host)));
      request.deadline = Instant::max();
    }
  }
  set_timer();
}

void Resolver::Impl::set_timer() {
  std::optional<Instant> first;
  for (const auto& [id, request] : requests) {
    if (request.deadline != Instant::max()) first = earlier(first, request.deadline);
  }
  (void)sys::set_timer(timer.get(), first ? std::max<uint64_t>(to_ns(*first), 1) : 0);
}

void Resolver::Impl::finish(uint64_t id, Answer answer) {
  const auto found = requests.find(id);
  if (found == requests.end()) return;  // cancelled, or answered by the timeout before
  Callback callback = std::move(found->second.callback);
  requests.erase(found);
  set_timer();
  callback(std::move(answer));
}

}  // namespace masque
