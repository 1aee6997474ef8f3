// SPDX-License-Identifier: Apache-2.0
// The manual page of the configuration, in the man(7) macros: the keys that the readers ask for,
// with what they take from there.
#include <format>

#include "base/roff.h"
#include "service/cli/parser.h"
#include "service/config/key_reference.h"
#include "service/config/settings.h"

namespace masque {

namespace {

constexpr std::string_view kHead =
    R"(.\" SPDX-License-Identifier: Apache-2.0
.\" Made by `masque-vpn man config`: change src/service/config, not this file.
.TH MASQUE\-VPN.TOML 5
.SH NAME
masque\-vpn.toml \- configuration of a masque\-vpn server or client
.SH DESCRIPTION
A TOML file. A key with a dot stands in a table: \fBnat.enabled\fR is \fBenabled\fR below \fB[nat]\fR. Unknown
keys and wrong types are faults; relative paths are relative to the file; an empty string counts as not set.
A file with a key or token should be readable by its owner alone. \fBmasque\-vpn check \-c\fR \fIFILE\fR tells every
fault with its line. SIGHUP and \fBmasque\-vpn reload\fR apply what a running program can take over, and the log
names the keys that wait for a restart.
)";

constexpr std::string_view kTail = R"(.SH SEE ALSO
\fBmasque\-vpn\fR(1)
)";

void describe(std::string& out, std::string_view title, std::span<const KeyReference> keys,
              const ConfigReader& reader) {
  out += std::format(".SH {}\n", title);
  for (const auto& [key, default_value, meaning] : keys) {
    out +=
        std::format(".TP\n\\fB{}\\fR\n{}.\n.br\nTakes {}.{}\n", roff(key), roff(meaning),
                    roff(reader.form_of(key)),
                    default_value.empty() ? "" : std::format(" Default: {}.", roff(default_value)));
  }
}

}  // namespace

std::string config_man_page() {
  const ConfigTable nothing;
  ConfigReader server("", nothing), client("", nothing);
  read_server_keys(server);
  read_client_keys(client);
  std::string out(kHead);
  describe(out, "SERVER", server_key_reference(), server);
  describe(out, "CLIENT", client_key_reference(), client);
  describe(out, "BOTH", common_key_reference(), client);
  out += kTail;
  return out;
}

}  // namespace masque
