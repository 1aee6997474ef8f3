// SPDX-License-Identifier: Apache-2.0
// What `masque-vpn watch` shows: a picture of so many columns and rows, or one line a session. Pure
// text: the terminal's own sequences are added by to_terminal().
#pragma once

#include <string>
#include <vector>

#include "service/watch/sparkline.h"
#include "service/watch/watcher.h"

namespace masque {

struct FrameOptions {
  size_t columns = 80;
  size_t rows = 24;
  Charset charset = Charset::Unicode;
};

// At most `rows` lines, none wider than `columns`.
std::vector<std::string> draw_frame(const Watcher& watcher, Instant now,
                                    const FrameOptions& options);
// The frame in place of the one before it.
std::string to_terminal(const std::vector<std::string>& frame);

// A line for each session, each with its newline; `clock` stands in front.
std::string draw_lines(const Watcher& watcher, std::string_view clock);
// One JSON object with a newline. `time`: when, in words of ISO 8601.
std::string draw_json(const Watcher& watcher, Instant now, std::string_view time);

}  // namespace masque
