// SPDX-License-Identifier: Apache-2.0
// The control protocol: one JSON object a line each way over the UNIX socket (docs/operating.md).
//   {"command":"status"}
//   {"command":"session.set","user":"anna","addresses":["10.8.0.9/32"],"routes":["10.1.0.0/16"]}
//   {"command":"session.kick","user":"anna"}      {"command":"user.changed","user":"anna"}
//   {"command":"user.revoke","user":"anna"}       {"command":"reload"}
// Reply: {"ok":true}, {"ok":true,"status":{...}}, {"ok":true,"sessions":1} or
// {"ok":false,"error":"no such session: anna","exit_code":1}.
// The peer is root or the daemon's own user, and still nothing it sends may crash the daemon.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/ip/address.h"
#include "service/exit_code.h"
#include "service/status.h"

namespace masque {

constexpr size_t kControlLineBytesMax = 64 * 1024;  // of a request
constexpr size_t kControlPrefixesMax = 256;

struct StatusRequest {};
// Replaces what the live session has; an absent member stays as it is.
struct SessionSetRequest {
  std::string user;
  std::optional<std::vector<IpPrefix>> addresses;
  std::optional<std::vector<IpPrefix>> routes;
};
struct SessionKickRequest {
  std::string user;
};
// The database says so already; the server closes the live sessions and forgets its tickets.
struct UserRevokeRequest {
  std::string user;
};
// The user's policy in the database is new.
struct UserChangedRequest {
  std::string user;
};
struct ReloadRequest {};

using ControlRequest = std::variant<StatusRequest, SessionSetRequest, SessionKickRequest,
                                    UserRevokeRequest, UserChangedRequest, ReloadRequest>;

// The error is the text for the reply.
std::expected<ControlRequest, std::string> parse_control_request(std::string_view line);
std::string to_json(const ControlRequest& request);

// Replies, each without its newline.
std::string control_ok();
std::string control_ok(const ServiceStatus& status);
std::string control_sessions(size_t sessions);  // how many live sessions the command touched
std::string control_error(std::string_view text, int exit_code = kExitFailed);

// What the command line makes of a reply.
struct ControlReply {
  bool ok = false;
  std::string error;
  int exit_code = kExitFailed;
  std::string status_json;  // of a StatusRequest
  size_t sessions = 0;
};
std::expected<ControlReply, std::string> parse_control_reply(std::string_view line);

}  // namespace masque
