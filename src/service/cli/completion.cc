// SPDX-License-Identifier: Apache-2.0
// Completion scripts of three shells, from the definition of the command line.
#include <format>
#include <functional>
#include <map>

#include "service/cli/parser.h"

namespace masque {

namespace {

bool is_path(const std::string& value) {
  return value == "FILE" || value == "PATH" || value == "DIR";
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

// What may follow a command: its subcommands, options, and the choices of its first positional.
std::vector<std::string> words_after(const CommandModel& command) {
  std::vector<std::string> out;
  for (const auto& sub : command.commands) out.push_back(sub.name);
  for (const auto& positional : command.positionals) {
    out.insert(out.end(), positional.choices.begin(), positional.choices.end());
  }
  for (const auto& option : command.options)
    out.insert(out.end(), option.names.begin(), option.names.end());
  return out;
}

void for_each_command(const CommandModel& command, const std::string& path,
                      const std::function<void(const std::string&, const CommandModel&)>& visit) {
  visit(path, command);
  for (const auto& sub : command.commands) {
    for_each_command(sub, path.empty() ? sub.name : path + " " + sub.name, visit);
  }
}

// Options by what their value is, over all commands: a name means the same everywhere.
struct ValueOptions {
  std::vector<std::string> paths;   // complete files
  std::vector<std::string> others;  // nothing to offer
  std::map<std::string, std::vector<std::string>> choices;
};

ValueOptions value_options(const CommandModel& model) {
  ValueOptions out;
  std::map<std::string, const OptionModel*> seen;
  for_each_command(model, "", [&](const std::string&, const CommandModel& command) {
    for (const auto& option : command.options) {
      for (const auto& name : option.names) seen.emplace(name, &option);
    }
  });
  for (const auto& [name, option] : seen) {
    if (!option->choices.empty()) {
      out.choices.emplace(name, option->choices);
    } else if (is_path(option->value)) {
      out.paths.push_back(name);
    } else if (!option->value.empty()) {
      out.others.push_back(name);
    }
  }
  return out;
}

std::string alternatives(const std::vector<std::string>& words) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : "|") + word;
  return out;
}

constexpr std::string_view kMadeBy =
    "# SPDX-License-Identifier: Apache-2.0\n# Made by `masque-vpn completion {}`: "
    "change src/service/cli, not this file.\n";

std::string made_by(const std::string& shell) {
  std::string out(kMadeBy);
  return out.replace(out.find("{}"), 2, shell);
}

// The command path is found by walking the words and keeping those that lead to a deeper command.
std::string bash_script(const CommandModel& model) {
  const ValueOptions values = value_options(model);
  std::string paths, replies;
  for_each_command(model, "", [&](const std::string& path, const CommandModel& command) {
    if (!path.empty()) paths += (paths.empty() ? "" : "|") + std::format("'{}'", path);
    replies += std::format("    '{}') words='{}' ;;\n", path, joined(words_after(command)));
  });
  std::string choices;
  for (const auto& [name, list] : values.choices) {
    choices +=
        std::format("    {}) mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$cur\"); return ;;\n",
                    name, joined(list));
  }
  return made_by("bash") + std::format(R"(_masque_vpn() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} path='' words='' i longer
  COMPREPLY=()
  case $prev in
    {}) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    {}) return ;;
{}  esac
  for ((i = 1; i < COMP_CWORD; i++)); do
    longer=${{path:+$path }}${{COMP_WORDS[i]}}
    case $longer in
      {}) path=$longer ;;
    esac
  done
  case $path in
{}  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}}
complete -o filenames -F _masque_vpn masque-vpn
)",
                                       alternatives(values.paths), alternatives(values.others),
                                       choices, paths, replies);
}

std::string zsh_script(const CommandModel& model) {
  const ValueOptions values = value_options(model);
  std::string paths, replies;
  for_each_command(model, "", [&](const std::string& path, const CommandModel& command) {
    if (!path.empty()) paths += (paths.empty() ? "" : "|") + std::format("'{}'", path);
    replies += std::format("    '{}') offered=({}) ;;\n", path, joined(words_after(command)));
  });
  std::string choices;
  for (const auto& [name, list] : values.choices) {
    choices += std::format("    {}) compadd -- {}; return ;;\n", name, joined(list));
  }
  return "#compdef masque-vpn\n" + made_by("zsh") +
         std::format(R"(_masque_vpn() {{
  local prev=${{words[CURRENT-1]}} command_path='' longer i
  local -a offered
  case $prev in
    {}) _files; return ;;
    {}) return ;;
{}  esac
  for ((i = 2; i < CURRENT; i++)); do
    longer=${{command_path:+$command_path }}${{words[i]}}
    case $longer in
      {}) command_path=$longer ;;
    esac
  done
  case $command_path in
{}  esac
  compadd -- $offered
}}
_masque_vpn "$@"
)",
                     alternatives(values.paths), alternatives(values.others), choices, paths,
                     replies);
}

std::string fish_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

std::string fish_option(const OptionModel& option) {
  std::string out;
  for (const auto& name : option.names) {
    out += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
  }
  if (!option.choices.empty()) {
    out += std::format(" -x -a {}", fish_quoted(joined(option.choices)));
  } else if (is_path(option.value)) {
    out += " -r -F";
  } else if (!option.value.empty()) {
    out += " -x";
  }
  return out + " -d " + fish_quoted(option.description);
}

// A command is under way when its words were seen and, for a group, none of its subcommands yet.
std::string fish_condition(const std::string& path, const CommandModel& command) {
  std::string condition;
  size_t start = 0;
  while (start < path.size()) {
    const size_t end = std::min(path.find(' ', start), path.size());
    condition += std::format("{}__fish_seen_subcommand_from {}", condition.empty() ? "" : "; and ",
                             path.substr(start, end - start));
    start = end + 1;
  }
  std::vector<std::string> subs;
  for (const auto& sub : command.commands) subs.push_back(sub.name);
  if (!subs.empty()) {
    condition += path.empty()
                     ? "__fish_use_subcommand"
                     : std::format("; and not __fish_seen_subcommand_from {}", joined(subs));
  }
  return condition;
}

std::string fish_script(const CommandModel& model) {
  std::string out = made_by("fish") + "complete -c masque-vpn -f\n";
  for_each_command(model, "", [&](const std::string& path, const CommandModel& command) {
    const std::string start =
        "complete -c masque-vpn -n " + fish_quoted(fish_condition(path, command));
    for (const auto& sub : command.commands) {
      out += std::format("{} -a {} -d {}\n", start, sub.name, fish_quoted(sub.description));
    }
    for (const auto& positional : command.positionals) {
      if (!positional.choices.empty())
        out += std::format("{} -a {}\n", start, fish_quoted(joined(positional.choices)));
    }
    for (const auto& option : command.options) out += start + fish_option(option) + "\n";
  });
  return out;
}

}  // namespace

std::string completion_script(const CommandModel& model, const std::string& shell) {
  if (shell == "bash") return bash_script(model);
  if (shell == "zsh") return zsh_script(model);
  return fish_script(model);
}

}  // namespace masque
