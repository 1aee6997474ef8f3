// SPDX-License-Identifier: Apache-2.0
#include "linkemu/help.h"

#include <algorithm>
#include <array>
#include <format>
#include <functional>

#include "base/roff.h"
#include "sim/link_profiles.h"
#include "sim/link_text.h"

namespace masque::linkemu {

namespace {

constexpr std::array kLinkOptions = {
    OptionText{"profile", "NAME", "a link by name; other options change what they name of it"},
    OptionText{"trace", "FILE",
               "instead of a rate: each line is a time in ms at which 1500 bytes may leave "
               "(mahimahi's form); repeats"},
    OptionText{"at", "TIME KEY=VALUE[,KEY=VALUE]...",
               "from TIME on, these options are otherwise; repeatable"},
};

constexpr std::array kRunOptions = {
    OptionText{"seed", "N", "decides all chances; default 1"},
    OptionText{"run-for", "TIME", "ends by itself"},
    OptionText{"json", "", "report as JSON on standard output at the end"},
    OptionText{"interval", "TIME",
               "live counters on standard error, and how often; on a terminal each 1s"},
    OptionText{"stats-file", "FILE", "the report so far as a line of JSON each interval (1s)"},
    OptionText{"precision", "TIME",
               "how early a packet may leave to share a wake-up with another; default 50us"},
    OptionText{"packets-max", "N", "packets held at once; default 65536"},
    OptionText{"flows-max", "N", "clients of a relay at once; default 1024"},
    OptionText{"priority", "CLASS",
               "realtime (default, where allowed): not late on a busy machine; or ordinary"},
};

struct Command {
  std::string_view words;
  std::string_view help;
};
constexpr std::array kCommands = {
    Command{"bridge IF_A IF_B", "join two interfaces of this network namespace"},
    Command{"relay LISTEN_ADDR:PORT TARGET_ADDR:PORT", "relay UDP; wants no rights"},
    Command{"profiles", "list the links that have names"},
    Command{"completion bash|zsh|fish", "print a completion script"},
    Command{"man", "print the manual page"},
};

constexpr std::string_view kDirections =
    "Up is from IF_A to IF_B, or from clients to the target. An option of the link holds for both "
    "directions, --up-KEY and --down-KEY for one of them.";

constexpr size_t kHelpColumn = 30;
constexpr size_t kHelpWidth = 98;

// Words in lines of at most kHelpWidth, after `indent` columns of which the first line has its own
// already.
std::string wrapped(std::string_view text, size_t indent) {
  std::string out;
  size_t column = indent;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    if (column > indent && column + 1 + word.size() > kHelpWidth) {
      out += '\n' + std::string(indent, ' ');
      column = indent;
    }
    if (column > indent) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    text.remove_prefix(std::min(word.size() + 1, text.size()));
  }
  return out + '\n';
}

// "  --name FORM    help"; a long title has a line of its own.
std::string help_line(std::string_view title, std::string_view help) {
  const std::string gap = title.size() + 4 > kHelpColumn
                              ? '\n' + std::string(kHelpColumn, ' ')
                              : std::string(kHelpColumn - 2 - title.size(), ' ');
  return std::format("  {}{}{}", title, gap, wrapped(help, kHelpColumn));
}

std::string titled(std::string_view name, std::string_view form) {
  return form.empty() ? std::format("--{}", name) : std::format("--{} {}", name, form);
}

void each_link_option(const std::function<void(const OptionText&)>& visit) {
  visit(kLinkOptions[0]);
  for (const LinkKey& key : link_keys()) {
    visit({.name = key.name, .form = key.form, .help = key.help});
  }
  for (size_t i = 1; i < kLinkOptions.size(); ++i) visit(kLinkOptions[i]);
}

// All words that begin with --.
std::string all_options() {
  std::string out = "--help --version";
  each_link_option([&](const OptionText& option) {
    out += std::format(" --{0} --up-{0} --down-{0}", option.name);
  });
  for (const OptionText& option : kRunOptions) out += std::format(" --{}", option.name);
  return out;
}

std::string all_profiles() {
  std::string out;
  for (const LinkProfile& profile : link_profiles()) {
    out += std::format("{}{}", out.empty() ? "" : " ", profile.name);
  }
  return out;
}

std::string all_commands() {
  std::string out;
  for (const Command& command : kCommands) {
    out += std::format("{}{}", out.empty() ? "" : " ",
                       command.words.substr(0, command.words.find(' ')));
  }
  return out;
}

std::string bash_script() {
  return std::format(R"(# Made by `masque-linkemu completion bash`.
_masque_linkemu() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} words
  case $prev in
    --profile|--up-profile|--down-profile) words='{}' ;;
    --order|--up-order|--down-order) words='kept free' ;;
    --priority) words='realtime ordinary' ;;
    --trace|--up-trace|--down-trace|--stats-file)
      mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    masque-linkemu) words='{} --help --version' ;;
    completion) words='bash zsh fish' ;;
    bridge) words=$(cd /sys/class/net && echo *) ;;
    *) words='{}' ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}}
complete -F _masque_linkemu masque-linkemu
)",
                     all_profiles(), all_commands(), all_options());
}

std::string zsh_script() {
  return std::format(R"(#compdef masque-linkemu
# Made by `masque-linkemu completion zsh`.
case ${{words[CURRENT-1]}} in
  --profile|--up-profile|--down-profile) compadd -- {} ;;
  --order|--up-order|--down-order) compadd -- kept free ;;
  --priority) compadd -- realtime ordinary ;;
  --trace|--up-trace|--down-trace|--stats-file) _files ;;
  masque-linkemu) compadd -- {} --help --version ;;
  completion) compadd -- bash zsh fish ;;
  bridge) _net_interfaces ;;
  *) compadd -- {} ;;
esac
)",
                     all_profiles(), all_commands(), all_options());
}

std::string fish_script() {
  std::string out = "# Made by `masque-linkemu completion fish`.\ncomplete -c masque-linkemu -f\n";
  out +=
      std::format("complete -c masque-linkemu -n __fish_use_subcommand -a '{}'\n", all_commands());
  const auto add = [&](std::string_view name, std::string_view form) {
    out += std::format("complete -c masque-linkemu -l {}", name);
    if (name.ends_with("profile")) {
      out += std::format(" -x -a '{}'", all_profiles());
    } else if (form == "FILE") {
      out += " -r -F";
    } else if (!form.empty()) {
      out += " -x";
    }
    out += '\n';
  };
  each_link_option([&](const OptionText& option) {
    for (const char* prefix : {"", "up-", "down-"}) {
      add(prefix + std::string(option.name), option.form);
    }
  });
  for (const OptionText& option : kRunOptions) add(option.name, option.form);
  return out;
}

}  // namespace

std::span<const OptionText> link_option_texts() { return kLinkOptions; }
std::span<const OptionText> run_option_texts() { return kRunOptions; }

std::string help_text() {
  std::string out = "usage: masque-linkemu COMMAND [OPTION]...\n\nMakes a bad link.\n\nCommands:\n";
  for (const Command& command : kCommands) out += help_line(command.words, command.help);
  out += std::format("\n{}\nOptions of the link:\n", wrapped(kDirections, 0));
  each_link_option([&](const OptionText& o) { out += help_line(titled(o.name, o.form), o.help); });
  out += "\nOptions of the run:\n";
  for (const OptionText& o : kRunOptions) out += help_line(titled(o.name, o.form), o.help);
  return out;
}

std::string man_page() {
  std::string out =
      ".\\\" Made by `masque-linkemu man`.\n.TH MASQUE\\-LINKEMU 1\n.SH NAME\n"
      "masque\\-linkemu \\- emulate bad network links\n.SH SYNOPSIS\n";
  for (const Command& command : kCommands) {
    out += std::format(".B masque\\-linkemu {}\n.br\n", roff(command.words));
  }
  out +=
      std::format(".SH DESCRIPTION\nMakes a bad link: delay, loss, a narrow rate, and more.\n{}\n",
                  roff(kDirections));
  const auto entry = [&](std::string_view title, std::string_view help) {
    out += std::format(".TP\n.B {}\n{}.\n", roff(title), roff(help));
  };
  out += ".SH COMMANDS\n";
  for (const Command& command : kCommands) entry(command.words, command.help);
  out += ".SH OPTIONS OF THE LINK\n";
  each_link_option([&](const OptionText& o) { entry(titled(o.name, o.form), o.help); });
  out += ".SH OPTIONS OF THE RUN\n";
  for (const OptionText& o : kRunOptions) entry(titled(o.name, o.form), o.help);
  out += ".SH PROFILES\n";
  for (const LinkProfile& profile : link_profiles()) entry(profile.name, profile.summary);
  out +=
      ".SH EXIT STATUS\n0 done (SIGINT and SIGTERM end a run well), 1 failed, 2 wrong usage.\n"
      ".SH SEE ALSO\n.BR masque\\-vpn (1)\n";
  return out;
}

std::expected<std::string, std::string> completion(std::string_view shell) {
  if (shell == "bash") return bash_script();
  if (shell == "zsh") return zsh_script();
  if (shell == "fish") return fish_script();
  return std::unexpected(std::format("no completion for '{}': bash, zsh or fish", shell));
}

}  // namespace masque::linkemu
