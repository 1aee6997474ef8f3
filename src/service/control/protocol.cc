// SPDX-License-Identifier: Apache-2.0
#include "service/control/protocol.h"

#include <algorithm>
#include <format>

#include "service/status_json.h"
#include "service/store/store.h"

namespace masque {

namespace {

template <class T>
using Parsed = std::expected<T, std::string>;

Parsed<std::string> user_of(const Json& message) {
  const auto found = message.find("user");
  if (found == message.end() || !found->is_string()) return std::unexpected("\"user\" is missing");
  auto name = found->get<std::string>();
  if (!is_user_name(name)) return std::unexpected("\"user\" is not a user's name");
  return name;
}

Parsed<std::optional<std::vector<IpPrefix>>> prefixes_of(const Json& message, const char* key) {
  const auto found = message.find(key);
  if (found == message.end()) return std::nullopt;
  if (!found->is_array() || found->size() > kControlPrefixesMax) {
    return std::unexpected(
        std::format("\"{}\" must be a list of at most {} networks", key, kControlPrefixesMax));
  }
  std::vector<IpPrefix> out;
  for (const auto& item : *found) {
    const auto prefix = item.is_string() ? IpPrefix::parse(item.get<std::string>())
                                         : std::unexpected(WireError::BadSyntax);
    if (!prefix)
      return std::unexpected(std::format("\"{}\" has a member that is not a network", key));
    out.push_back(*prefix);
  }
  return out;
}

Parsed<ControlRequest> parse_session_set(const Json& message) {
  TRY(auto user, user_of(message));
  TRY(auto addresses, prefixes_of(message, "addresses"));
  TRY(auto routes, prefixes_of(message, "routes"));
  if (!addresses && !routes)
    return std::unexpected("nothing to set: give \"addresses\" or \"routes\"");
  if (addresses && addresses->empty()) return std::unexpected("\"addresses\" must not be empty");
  return SessionSetRequest{
      .user = std::move(user), .addresses = std::move(addresses), .routes = std::move(routes)};
}

template <class Request>
Parsed<ControlRequest> parse_user_request(const Json& message) {
  TRY(auto user, user_of(message));
  return Request{.user = std::move(user)};
}

struct Writer {
  Json operator()(const StatusRequest&) const { return {{"command", "status"}}; }
  Json operator()(const SessionSetRequest& r) const {
    Json out = {{"command", "session.set"}, {"user", r.user}};
    if (r.addresses) out["addresses"] = to_json_array(*r.addresses);
    if (r.routes) out["routes"] = to_json_array(*r.routes);
    return out;
  }
  Json operator()(const SessionKickRequest& r) const {
    return {{"command", "session.kick"}, {"user", r.user}};
  }
  Json operator()(const UserRevokeRequest& r) const {
    return {{"command", "user.revoke"}, {"user", r.user}};
  }
  Json operator()(const UserChangedRequest& r) const {
    return {{"command", "user.changed"}, {"user", r.user}};
  }
  Json operator()(const ReloadRequest&) const { return {{"command", "reload"}}; }
};

}  // namespace

std::expected<ControlRequest, std::string> parse_control_request(std::string_view line) {
  if (line.size() > kControlLineBytesMax) return std::unexpected("the request is too long");
  const auto message = parse_json_object(line);
  if (!message) return std::unexpected("the request is not a JSON object");
  const auto command = message->find("command");
  if (command == message->end() || !command->is_string())
    return std::unexpected("\"command\" is missing");
  const auto name = command->get<std::string>();
  if (name == "status") return StatusRequest{};
  if (name == "session.set") return parse_session_set(*message);
  if (name == "session.kick") return parse_user_request<SessionKickRequest>(*message);
  if (name == "user.revoke") return parse_user_request<UserRevokeRequest>(*message);
  if (name == "user.changed") return parse_user_request<UserChangedRequest>(*message);
  if (name == "reload") return ReloadRequest{};
  return std::unexpected("unknown command");
}

std::string to_json(const ControlRequest& request) {
  return dump_json(std::visit(Writer{}, request));
}

std::string control_ok() { return R"({"ok":true})"; }

std::string control_ok(const ServiceStatus& status) {
  return dump_json({{"ok", true}, {"status", to_json_object(status)}});
}

std::string control_sessions(size_t sessions) {
  return dump_json({{"ok", true}, {"sessions", sessions}});
}

std::string control_error(std::string_view text, int exit_code) {
  return dump_json({{"ok", false}, {"error", text}, {"exit_code", exit_code}});
}

std::expected<ControlReply, std::string> parse_control_reply(std::string_view line) {
  const auto message = parse_json_object(line);
  if (!message) return std::unexpected("the answer is not a JSON object");
  const auto ok = message->find("ok");
  if (ok == message->end() || !ok->is_boolean()) return std::unexpected("the answer has no \"ok\"");
  ControlReply reply{.ok = ok->get<bool>(), .exit_code = kExitFailed};
  if (const auto error = message->find("error"); error != message->end() && error->is_string()) {
    reply.error = error->get<std::string>();
  }
  if (const auto code = message->find("exit_code");
      code != message->end() && code->is_number_unsigned()) {
    reply.exit_code = static_cast<int>(std::clamp<uint64_t>(code->get<uint64_t>(), 1, 125));
  }
  if (const auto status = message->find("status");
      status != message->end() && status->is_object()) {
    reply.status_json = dump_json(*status);
  }
  if (const auto sessions = message->find("sessions");
      sessions != message->end() && sessions->is_number_unsigned()) {
    reply.sessions = sessions->get<size_t>();
  }
  return reply;
}

}  // namespace masque
