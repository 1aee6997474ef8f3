// SPDX-License-Identifier: Apache-2.0
// What the emulator did, as JSON for programs and as a line or a table for people.
#pragma once

#include <string>

#include "linkemu/emulator.h"
#include "linkemu/settings.h"

namespace masque::linkemu {

struct ReportSource {
  const Settings& settings;
  const Emulator& emulator;
  PacketIo& io;
};

std::string json_report(const ReportSource& source, Instant now);  // one line, no end of line
std::string text_report(const ReportSource& source, Instant now);
std::string live_line(const ReportSource& source, Instant now);

std::string profiles_json();
std::string profiles_text();

}  // namespace masque::linkemu
