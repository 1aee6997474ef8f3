// SPDX-License-Identifier: Apache-2.0
// Commands that talk to a running instance: status, reload, session.
#include <format>

#include "core/capsule/capsule.h"
#include "service/cli/context.h"
#include "service/status_json.h"

namespace masque {

namespace {

// The status of the instance meant, as JSON; the error is an exit code.
std::expected<std::string, int> ask_status(const CliContext& cli, const InstanceOptions& instance,
                                           CliContext::Wanted wanted) {
  TRY(const auto socket, cli.find_instance(instance, wanted));
  TRY(auto reply, cli.ask(socket, StatusRequest{}));
  if (reply.status_json.empty())
    return std::unexpected(cli.fail(kExitFailed, "the answer holds no status"));
  return reply.status_json;
}

std::expected<std::vector<IpPrefix>, int> parse_prefixes(const CliContext& cli,
                                                         const std::vector<std::string>& texts,
                                                         std::string_view option,
                                                         size_t count_max) {
  TRY_VOID(cli.check_count(option, texts.size(), count_max));
  std::vector<IpPrefix> out;
  for (const auto& text : texts) {
    const auto prefix = IpPrefix::parse(text);
    if (!prefix) {
      return std::unexpected(
          cli.fail(kExitUsage, std::format("{}: \"{}\" is not a network such as 10.8.0.9/32 or "
                                           "fd00:8::/64 ({})",
                                           option, text, to_string(prefix.error()))));
    }
    out.push_back(*prefix);
  }
  return out;
}

int request_sessions(const CliContext& cli, const InstanceOptions& instance,
                     const ControlRequest& request, std::string_view done) {
  const auto socket = cli.find_instance(instance, CliContext::Wanted::Server);
  if (!socket) return socket.error();
  const auto reply = cli.ask(*socket, request);
  if (!reply) return reply.error();
  cli.err(std::format("{} {} session{}\n", done, reply->sessions, reply->sessions == 1 ? "" : "s"));
  return kExitDone;
}

}  // namespace

int command_status(const CliContext& cli, const StatusOptions& options) {
  const auto status = ask_status(cli, options.instance, CliContext::Wanted::Any);
  if (!status) return status.error();
  const int told = cli.answer(options.json ? *status + "\n" : status_to_text(*status));
  if (told != kExitDone) return told;
  const auto state = state_of(*status);
  return state == "connected" || state == "listening" ? kExitDone : kExitNotConnected;
}

int command_reload(const CliContext& cli, const ReloadOptions& options) {
  const auto socket = cli.find_instance(options.instance);
  if (!socket) return socket.error();
  const auto reply = cli.ask(*socket, ReloadRequest{});
  return reply ? kExitDone : reply.error();
}

int command_session_set(const CliContext& cli, const SessionSetOptions& options) {
  if (options.addresses.empty() && options.routes.empty()) {
    return cli.fail(kExitUsage, "session set: give --address CIDR or --route CIDR");
  }
  SessionSetRequest request{.user = options.user, .addresses = {}, .routes = {}};
  if (!options.addresses.empty()) {
    auto parsed = parse_prefixes(cli, options.addresses, "--address", kGivenAddressesMax);
    if (!parsed) return parsed.error();
    request.addresses = std::move(*parsed);
  }
  if (!options.routes.empty()) {
    auto parsed = parse_prefixes(cli, options.routes, "--route", kControlPrefixesMax);
    if (!parsed) return parsed.error();
    request.routes = std::move(*parsed);
  }
  return request_sessions(cli, options.instance, request, "changed");
}

int command_session_kick(const CliContext& cli, const SessionKickOptions& options) {
  return request_sessions(cli, options.instance, SessionKickRequest{.user = options.user},
                          "closed");
}

int command_session_list(const CliContext& cli, const SessionListOptions& options) {
  const auto text = ask_status(cli, options.instance, CliContext::Wanted::Server);
  if (!text) return text.error();
  const auto status = parse_json_object(*text);
  if (!status || !status->contains("sessions") || !(*status)["sessions"].is_array()) {
    return cli.fail(kExitUsage,
                    "this is a client: it has no list of sessions, use `masque-vpn status`");
  }
  const Json& sessions = (*status)["sessions"];
  if (options.json) return cli.answer(dump_json(sessions) + "\n");
  std::vector<std::vector<std::string>> rows = {{"USER", "PEER", "ADDRESSES", "ROUTES"}};
  const auto cell = [](const Json& session, const char* key) -> std::string {
    if (!session.contains(key)) return "-";
    const Json& value = session[key];
    if (value.is_string()) return value.get<std::string>();
    std::string out;
    for (const auto& item : value) {
      if (item.is_string()) out += (out.empty() ? "" : " ") + item.get<std::string>();
    }
    return out.empty() ? "-" : out;
  };
  for (const auto& session : sessions) {
    rows.push_back({cell(session, "user"), cell(session, "peer"), cell(session, "addresses"),
                    cell(session, "routes")});
  }
  return cli.answer(text_table(rows));
}

}  // namespace masque
