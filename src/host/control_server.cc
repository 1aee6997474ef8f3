// SPDX-License-Identifier: Apache-2.0
// The program's end of the control channel.
#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <format>
#include <map>
#include <vector>

#include "base/log.h"
#include "base/mutant.h"
#include "host/control_address.h"
#include "host/control_socket.h"
#include "host/event_loop.h"
#include "host/system.h"

namespace masque {
namespace {

constexpr int kBacklog = 16;
constexpr size_t kReadBytes = 64 * 1024;  // from one client in one turn

struct Client {
  UniqueFd fd;
  ControlServer::Peer peer;
  std::string input;
  std::string output;
  bool closing = false;  // no more input: close when the output is sent
  bool dead = false;     // to be forgotten once no callback stands on it
  EventLoop::Interest interest = EventLoop::kReadable;
};

// A stale socket file is removed, a live one and a file of another kind are not.
Result<void, SysError> make_room(const std::string& path, const UnixName& name) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) < 0) {
    if (errno == ENOENT) return {};
    return sys::failure("use control socket " + path);
  }
  if (!S_ISSOCK(status.st_mode) && !mutant("control.replace.remove"))
    return sys::failure(EEXIST, path + " is not a socket");
  TRY(const UniqueFd probe, sys::socket(AF_UNIX, SOCK_STREAM, 0));
  const auto connected = sys::connect(probe.get(), name.get(), name.length);
  if (connected || sys::would_block(connected.error())) {
    return sys::failure(EADDRINUSE, "another program listens on control socket " + path);
  }
  if (connected.error().code != ECONNREFUSED)
    return sys::failure(connected.error().code, "use control socket " + path);
  return sys::unlink(path);
}

// The directory of the socket, one level, when the service manager did not make it.
void make_directory(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash != std::string::npos && slash > 0) (void)::mkdir(path.substr(0, slash).c_str(), 0755);
}

Result<void, SysError> set_owner(const std::string& path, const std::string& group) {
  if (group.empty()) return {};
  const struct group* entry = ::getgrnam(group.c_str());
  if (entry == nullptr)
    return sys::failure(ENOENT, "find group " + group + " for control socket " + path);
  if (::chown(path.c_str(), static_cast<uid_t>(-1), entry->gr_gid) < 0) {
    return sys::failure("give control socket " + path + " to group " + group);
  }
  return {};
}

ControlServer::Peer peer_of(int fd) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
    return {.uid = UINT32_MAX, .gid = UINT32_MAX};
  return {.uid = credentials.uid, .gid = credentials.gid, .pid = credentials.pid};
}

}  // namespace

struct ControlServer::Impl {
  EventLoop& loop;
  std::string path;
  UniqueFd listener;
  UniqueFd spare;  // given up for a moment to refuse a client when no descriptor is left
  LineHandler on_line;
  CloseHandler on_close;
  std::map<uint64_t, std::unique_ptr<Client>> clients;
  uint64_t next_id = 1;
  int depth = 0;  // callbacks under way: clients may be marked dead but not freed

  explicit Impl(EventLoop& the_loop) : loop(the_loop) {}
  Result<void, SysError> open(const Options& options);
  void accept();
  void on_ready(uint64_t id, EventLoop::Ready ready);
  void read(uint64_t id, Client& client);
  void take_lines(uint64_t id, Client& client);
  void flush(Client& client);
  void update(Client& client);
  void sweep();
};

ControlServer::ControlServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ControlServer::~ControlServer() {
  for (auto& [id, client] : impl_->clients) impl_->loop.remove(client->fd.get());
  if (!impl_->listener.valid()) return;
  impl_->loop.remove(impl_->listener.get());
  (void)sys::unlink(impl_->path);
}

Result<std::unique_ptr<ControlServer>, SysError> ControlServer::create(EventLoop& loop,
                                                                       const Options& options,
                                                                       LineHandler on_line) {
  auto impl = std::make_unique<Impl>(loop);
  impl->on_line = std::move(on_line);
  TRY_VOID(impl->open(options));
  Impl* inner = impl.get();
  auto server = std::unique_ptr<ControlServer>(new ControlServer(std::move(impl)));
  TRY_VOID(loop.add(inner->listener.get(), EventLoop::kReadable,
                    [inner](EventLoop::Ready) { inner->accept(); }));
  return server;
}

Result<void, SysError> ControlServer::Impl::open(const Options& options) {
  path = options.path;
  TRY(const UnixName name, to_unix_name(path));
  make_directory(path);
  TRY_VOID(make_room(path, name));
  TRY(UniqueFd fd, sys::socket(AF_UNIX, SOCK_STREAM, 0));
  // The inode is made with the descriptor's mode, so that it is never more open than wanted.
  if (::fchmod(fd.get(), 0600) < 0) return sys::failure("set the mode of control socket " + path);
  if (::bind(fd.get(), name.get(), name.length) < 0)
    return sys::failure("make control socket " + path);
  listener = std::move(fd);
  TRY_VOID(set_owner(path, options.group));
  TRY_VOID(sys::chmod(path, options.mode | (mutant("control.mode") ? 0006 : 0)));
  TRY_VOID(sys::listen(listener.get(), kBacklog));
  TRY(spare, sys::open("/dev/null", O_RDONLY));
  return {};
}

void ControlServer::Impl::accept() {
  auto fd = sys::accept(listener.get());
  if (!fd) {
    if (fd.error().code != EMFILE && fd.error().code != ENFILE) return;
    spare.reset();  // else the waiting client would wake the loop for ever
    (void)sys::accept(listener.get());
    if (auto again = sys::open("/dev/null", O_RDONLY)) spare = std::move(*again);
    return;
  }
  if (clients.size() >= kClientsMax + (mutant("control.clients.limit") ? 1 : 0)) {
    log_debug("control.refused", {{"clients", clients.size()}});
    return;
  }
  const uint64_t id = next_id++;
  const int number = fd->get();
  auto client = std::make_unique<Client>();
  client->peer = peer_of(number);
  client->fd = std::move(*fd);
  const auto added = loop.add(number, EventLoop::kReadable,
                              [this, id](EventLoop::Ready ready) { on_ready(id, ready); });
  if (added) clients.emplace(id, std::move(client));
}

void ControlServer::Impl::on_ready(uint64_t id, EventLoop::Ready ready) {
  const auto found = clients.find(id);
  if (found == clients.end()) return;
  Client& client = *found->second;
  ++depth;
  if (ready.failed && !ready.readable) client.dead = true;
  if (ready.readable && !client.closing) read(id, client);
  if (!client.dead) flush(client);
  --depth;
  sweep();
}

void ControlServer::Impl::read(uint64_t id, Client& client) {
  std::array<uint8_t, kReadBytes> piece;
  const auto got = sys::receive(client.fd.get(), piece);
  if (!got) {
    client.dead = client.dead || !sys::would_block(got.error());
    return;
  }
  if (*got == 0) {
    client.closing = true;  // half closed: what was answered so far is still sent
    return;
  }
  client.input += as_text(Bytes(piece).first(*got));
  take_lines(id, client);
}

void ControlServer::Impl::take_lines(uint64_t id, Client& client) {
  size_t begin = 0;
  while (!client.dead && !client.closing) {
    const size_t end = client.input.find('\n', begin);
    if (end == std::string::npos) break;
    if (end - begin > kLineMax && !mutant("control.line.remove")) break;
    on_line(ClientId{id}, client.peer, std::string_view(client.input).substr(begin, end - begin));
    begin = end + 1;
  }
  client.input.erase(0, begin);
  if (client.input.size() > kLineMax) {
    log_debug("control.line_too_long", {{"uid", client.peer.uid}});
    client.dead = true;
  }
}

void ControlServer::Impl::flush(Client& client) {
  Bytes rest = as_bytes(client.output);
  while (!rest.empty()) {
    const auto sent = sys::send(client.fd.get(), rest);
    if (!sent) {
      if (!sys::would_block(sent.error())) client.dead = true;
      break;
    }
    rest = rest.subspan(*sent);
  }
  client.output.erase(0, client.output.size() - rest.size());
  if (client.closing && client.output.empty()) client.dead = true;
  if (!client.dead) update(client);
}

void ControlServer::Impl::update(Client& client) {
  const int wanted = (client.closing ? EventLoop::kNone : EventLoop::kReadable) |
                     (client.output.empty() ? EventLoop::kNone : EventLoop::kWritable);
  if (wanted == client.interest) return;
  client.interest = static_cast<EventLoop::Interest>(wanted);
  if (!loop.modify(client.fd.get(), client.interest)) client.dead = true;
}

void ControlServer::Impl::sweep() {
  if (depth > 0) return;
  std::vector<uint64_t> gone;
  for (const auto& [id, client] : clients) {
    if (client->dead) gone.push_back(id);
  }
  for (const uint64_t id : gone) {
    loop.remove(clients.at(id)->fd.get());
    clients.erase(id);
    if (on_close) on_close(ClientId{id});
  }
}

void ControlServer::set_on_close(CloseHandler on_close) { impl_->on_close = std::move(on_close); }

bool ControlServer::send(ClientId id, std::string_view line) {
  const auto found = impl_->clients.find(static_cast<uint64_t>(id));
  if (found == impl_->clients.end() || found->second->dead) return false;
  Client& client = *found->second;
  if (client.output.size() + line.size() + 1 > kOutputMax) {
    log_debug("control.slow_client", {{"uid", client.peer.uid}});
    client.dead = true;
  } else {
    client.output.append(line).push_back('\n');
    impl_->flush(client);
  }
  const bool alive = !client.dead;
  impl_->sweep();
  return alive;
}

void ControlServer::close(ClientId id) {
  const auto found = impl_->clients.find(static_cast<uint64_t>(id));
  if (found == impl_->clients.end()) return;
  found->second->closing = true;
  impl_->flush(*found->second);
  impl_->sweep();
}

size_t ControlServer::client_count() const { return impl_->clients.size(); }

}  // namespace masque
