// SPDX-License-Identifier: Apache-2.0
#include "service/cli/cli.h"

#include <cstdio>

#include "host/control_socket.h"
#include "service/cli/context.h"
#include "service/cli/parser.h"
#include "service/standard_output.h"

namespace masque {

namespace {

constexpr Duration kPeerTimeout = 2s;

struct Dispatcher {
  const CliContext& cli;
  int operator()(const InitOptions& o) const { return command_init(cli, o); }
  int operator()(const UserAddOptions& o) const { return command_user_add(cli, o); }
  int operator()(const UserListOptions& o) const { return command_user_list(cli, o); }
  int operator()(const UserRevokeOptions& o) const { return command_user_revoke(cli, o); }
  int operator()(const UserSetOptions& o) const { return command_user_set(cli, o); }
  int operator()(const UserTokenOptions& o) const { return command_user_token(cli, o); }
  int operator()(const CheckOptions& o) const { return command_check(cli, o); }
  int operator()(const StatusOptions& o) const { return command_status(cli, o); }
  int operator()(const WatchOptions& o) const { return command_watch(cli, o); }
  int operator()(const ReloadOptions& o) const { return command_reload(cli, o); }
  int operator()(const SessionSetOptions& o) const { return command_session_set(cli, o); }
  int operator()(const SessionListOptions& o) const { return command_session_list(cli, o); }
  int operator()(const SessionKickOptions& o) const { return command_session_kick(cli, o); }
  int operator()(const ServerOptions& o) const { return command_server(cli, o); }
  int operator()(const ClientOptions& o) const { return command_client(cli, o); }
  int operator()(const CompletionOptions& o) const {
    return cli.answer(completion_script(command_model(), o.shell));
  }
  int operator()(const ManOptions& o) const {
    return cli.answer(o.page == "config" ? config_man_page() : man_page(command_model()));
  }
};

void write_error(std::string_view text) {
  fwrite(text.data(), 1, text.size(), stderr);
  fflush(stderr);
}

}  // namespace

CliHooks system_hooks() {
  return {.run_server = {},
          .run_client = {},
          .out = write_standard_output,
          .err = write_error,
          .control = control_call,
          .shares_network =
              [](const std::string& socket) {
                return control_peer_network(socket, kPeerTimeout) == PeerNetwork::Same;
              },
          .watch_screen = system_watch_screen};
}

int cli_main(int argc, const char* const* argv, const CliHooks& hooks) {
  const auto parsed = parse_command_line(argc, argv);
  const CliContext cli(hooks);
  if (const auto* answer = std::get_if<ParserAnswer>(&parsed)) {
    if (answer->exit_code == kExitDone) return cli.answer(answer->text);
    cli.err(answer->text);
    return answer->exit_code;
  }
  return std::visit(Dispatcher{cli}, std::get<Command>(parsed));
}

}  // namespace masque
