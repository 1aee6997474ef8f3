// SPDX-License-Identifier: Apache-2.0
// The manual page, in the man(7) macros, from the definition of the command line.
#include <format>

#include "base/roff.h"
#include "service/cli/parser.h"

namespace masque {

namespace {

std::string option_title(const OptionModel& option) {
  std::string out;
  for (const auto& name : option.names)
    out += std::format("{}\\fB{}\\fR", out.empty() ? "" : ", ", roff(name));
  if (!option.value.empty()) out += std::format(" \\fI{}\\fR", roff(option.value));
  return out;
}

std::string synopsis(const CommandModel& command) {
  std::string out;
  for (const auto& positional : command.positionals) {
    const std::string word = std::format("\\fI{}\\fR", roff(positional.value));
    out += positional.required ? " " + word : " [" + word + "]";
  }
  for (const auto& option : command.options) {
    if (option.names.front() == "-h") continue;
    const std::string words =
        std::format("\\fB{}\\fR{}", roff(option.names.front()),
                    option.value.empty() ? "" : " \\fI" + roff(option.value) + "\\fR");
    out += option.required ? " " + words : " [" + words + "]";
    if (option.repeated) out += "...";
  }
  return out;
}

void describe(std::string& out, const CommandModel& command, const std::string& path) {
  if (command.commands.empty()) {
    out += std::format(".SS {}{}\n{}.\n", roff(path), synopsis(command), roff(command.description));
    for (const auto& option : command.options) {
      if (option.names.front() == "-h") continue;
      out += std::format(".TP\n{}\n{}", option_title(option), roff(option.description));
      for (size_t i = 0; i < option.choices.size(); ++i) {
        out += std::format("{}{}", i == 0 ? ": " : ", ", roff(option.choices[i]));
      }
      out += ".\n";
    }
  }
  for (const auto& sub : command.commands)
    describe(out, sub, path.empty() ? sub.name : path + " " + sub.name);
}

constexpr std::string_view kTail = R"(.SH FILES
.TP
\fIDIR\fR/server.toml
The gateway's configuration, made by \fBinit\fR. Its keys, and those of client profiles, are in
\fBmasque\-vpn.toml\fR(5).
.TP
\fIDIR\fR/state.db, \fIDIR\fR/server.keys
Users and leases; keys that let clients of a restarted gateway come back at once.
.TP
/run/masque\-vpn/*.sock
Control sockets of running instances.
.SH ENVIRONMENT
.TP
\fBMASQUE_VPN_RUNTIME_DIR\fR
Directory of the control sockets instead of /run/masque\-vpn.
.SH SIGNALS
.TP
\fBSIGTERM\fR, \fBSIGINT\fR
End cleanly, telling the peer; a second one ends at once.
.TP
\fBSIGHUP\fR
Read the configuration again; a faulty one leaves the old settings in force.
.SH EXIT STATUS
.TP
0
Done. \fBstatus\fR: connected or listening.
.TP
1
Failed.
.TP
2
Wrong usage of the command line.
.TP
3
\fBstatus\fR: nothing is running, or it is not connected.
.TP
69
The peer cannot be reached.
.TP
75
A passing shortage: try again later.
.TP
77
Refused by the peer, by a policy or by the kernel.
.TP
78
A fault in the configuration; each is told with file, line and column.
.SH SEE ALSO
\fBmasque\-vpn.toml\fR(5)
)";

}  // namespace

std::string man_page(const CommandModel& model) {
  std::string out = std::format(
      ".\\\" SPDX-License-Identifier: Apache-2.0\n.\\\" Made by `masque-vpn man`: change "
      "src/service/cli, not this "
      "file.\n.TH {} 1\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n\\fB{}\\fR \\fICOMMAND\\fR "
      "[\\fIOPTION\\fR]...\n"
      ".SH DESCRIPTION\nOne program for both ends of a VPN that carries IP packets in HTTP/3 "
      "(MASQUE CONNECT\\-IP, RFC "
      "9484).\nAnswers go to standard output, everything else to standard error.\n.SH COMMANDS\n",
      roff("MASQUE-VPN"), roff(model.name), roff(model.description), roff(model.name));
  describe(out, model, "");
  out += kTail;
  return out;
}

}  // namespace masque
