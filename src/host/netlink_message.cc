// SPDX-License-Identifier: Apache-2.0
#include "host/netlink_message.h"

#include <linux/netlink.h>
#include <sys/time.h>

#include <cerrno>
#include <cstring>
#include <format>
#include <vector>

#include "base/assert.h"
#include "host/system.h"

namespace masque {
namespace {

constexpr int kDumpAttempts = 8;
constexpr size_t kAnswerBytes = 32 * 1024;

// The kernel's own sentence about an error (NETLINK_EXT_ACK), if it has one.
std::string explanation_in(const nlmsghdr* message) {
  if ((message->nlmsg_flags & NLM_F_ACK_TLVS) == 0) return {};
  const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message));
  size_t header = sizeof *error;
  if ((message->nlmsg_flags & NLM_F_CAPPED) == 0) header += error->msg.nlmsg_len - sizeof(nlmsghdr);
  if (header > mnl_nlmsg_get_payload_len(message)) return {};
  const NetlinkAttributes attributes(message, header);
  const auto text = attributes.text(NLMSGERR_ATTR_MSG);
  return text ? std::format(" ({})", *text) : std::string();
}

}  // namespace

NetlinkRequest::NetlinkRequest(uint16_t type, int flags) {
  nlmsghdr* header = mnl_nlmsg_put_header(buffer_.data());
  header->nlmsg_type = type;
  header->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
}

void NetlinkRequest::put(uint16_t attribute, const IpAddress& address) {
  put_bytes(attribute, address.bytes());
}

NetlinkAttributes::NetlinkAttributes(const nlmsghdr* message, size_t header_bytes) {
  if (mnl_nlmsg_get_payload_len(message) < header_bytes) return;
  mnl_attr_parse(
      message, static_cast<unsigned>(header_bytes),
      [](const nlattr* attribute, void* data) {
        auto& found = *static_cast<std::array<const nlattr*, kTypesMax>*>(data);
        const uint16_t type = mnl_attr_get_type(attribute);
        if (type < kTypesMax) found[type] = attribute;
        return MNL_CB_OK;
      },
      &found_);
}

std::optional<Bytes> NetlinkAttributes::bytes(uint16_t type) const {
  if (!has(type)) return std::nullopt;
  return Bytes(static_cast<const uint8_t*>(mnl_attr_get_payload(found_[type])),
               mnl_attr_get_payload_len(found_[type]));
}

std::optional<uint32_t> NetlinkAttributes::u32(uint16_t type) const {
  const auto data = bytes(type);
  if (!data || data->size() < sizeof(uint32_t)) return std::nullopt;
  uint32_t value = 0;
  std::memcpy(&value, data->data(), sizeof value);
  return value;
}

std::optional<uint8_t> NetlinkAttributes::u8(uint16_t type) const {
  const auto data = bytes(type);
  if (!data || data->empty()) return std::nullopt;
  return data->front();
}

std::optional<std::string> NetlinkAttributes::text(uint16_t type) const {
  const auto data = bytes(type);
  if (!data) return std::nullopt;
  std::string text(as_text(*data));
  if (const size_t end = text.find('\0'); end != std::string::npos) text.resize(end);
  return text;
}

std::optional<IpAddress> NetlinkAttributes::address(uint16_t type) const {
  const auto data = bytes(type);
  if (!data) return std::nullopt;
  const auto address = IpAddress::from_bytes(*data);
  return address ? std::optional(*address) : std::nullopt;
}

Netlink::Impl::~Impl() {
  if (socket != nullptr) mnl_socket_close(socket);
}

Netlink::Netlink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Netlink::~Netlink() = default;
Netlink::Netlink(Netlink&&) noexcept = default;
Netlink& Netlink::operator=(Netlink&&) noexcept = default;

Result<Netlink, SysError> Netlink::create() {
  auto impl = std::make_unique<Impl>();
  impl->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  if (impl->socket == nullptr) return sys::failure("open a netlink socket");
  if (mnl_socket_bind(impl->socket, 0, MNL_SOCKET_AUTOPID) < 0)
    return sys::failure("bind a netlink socket");
  const int fd = mnl_socket_get_fd(impl->socket);
  // The kernel answers at once; the timeout is for the case that an answer was lost.
  timeval patience{.tv_sec = 5, .tv_usec = 0};
  (void)::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  int one = 1;
  (void)mnl_socket_setsockopt(impl->socket, NETLINK_EXT_ACK, &one, sizeof one);
  (void)mnl_socket_setsockopt(impl->socket, NETLINK_GET_STRICT_CHK, &one, sizeof one);
  return Netlink(std::move(impl));
}

Result<void, SysError> Netlink::Impl::transact(
    NetlinkRequest& request, const std::string& operation,
    const std::function<void(const nlmsghdr*)>& on_message) {
  nlmsghdr* message = request.message();
  message->nlmsg_seq = ++sequence;
  if ((message->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP) message->nlmsg_flags |= NLM_F_ACK;
  if (mnl_socket_sendto(socket, message, message->nlmsg_len) < 0) return sys::failure(operation);
  return read_answer(operation, on_message);
}

Result<void, SysError> Netlink::Impl::read_answer(
    const std::string& operation, const std::function<void(const nlmsghdr*)>& on_message) {
  alignas(nlmsghdr) std::array<char, kAnswerBytes> buffer;
  bool interrupted = false;
  while (true) {
    const ssize_t got = mnl_socket_recvfrom(socket, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return sys::failure(operation);
    int rest = static_cast<int>(got);
    for (const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data());
         mnl_nlmsg_ok(message, rest); message = mnl_nlmsg_next(message, &rest)) {
      if (message->nlmsg_seq != sequence) continue;  // the late answer to an earlier request
      if (message->nlmsg_flags & NLM_F_DUMP_INTR) interrupted = true;
      if (message->nlmsg_type == NLMSG_ERROR) {
        const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message));
        if (error->error == 0) return {};
        return sys::failure(-error->error, operation + explanation_in(message));
      }
      if (message->nlmsg_type == NLMSG_DONE) {
        if (interrupted) return sys::failure(EINTR, operation);
        return {};
      }
      if (message->nlmsg_type >= NLMSG_MIN_TYPE && on_message) on_message(message);
    }
  }
}

Result<void, SysError> Netlink::Impl::dump(const std::function<NetlinkRequest()>& make,
                                           const std::string& operation,
                                           const std::function<void()>& restart,
                                           const std::function<void(const nlmsghdr*)>& on_message) {
  for (int attempt = 1;; ++attempt) {
    restart();
    NetlinkRequest request = make();
    auto done = transact(request, operation, on_message);
    if (done || done.error().code != EINTR || attempt == kDumpAttempts) return done;
  }
}

}  // namespace masque
