// SPDX-License-Identifier: Apache-2.0
#include "service/watch/watch_frame.h"

#include <algorithm>
#include <format>

namespace masque {

namespace {

constexpr size_t kNameWidth = 13;
constexpr size_t kValueWidth = 12;
constexpr size_t kMaximumWidth = 18;  // "  max 999.9 Mbit/s"
constexpr size_t kBarsMin = 8;
constexpr size_t kBarsEnough = 30;  // so many before the maximum is told beside them

enum class Unit : uint8_t { BitRate, Milliseconds, Share };

struct Row {
  std::string_view name;
  Unit unit;
  std::optional<double> (*value)(const WatchPoint&);
  // OfRowAbove: before and after are seen by the same measure.
  enum class Scale : uint8_t { Own, OfRowAbove } scale = Scale::Own;
};

using Value = std::optional<double>;
constexpr Row kTraffic[] = {
    {"up", Unit::BitRate, [](const WatchPoint& p) -> Value { return p.up_bit_s(); }},
    {"down", Unit::BitRate, [](const WatchPoint& p) -> Value { return p.down_bit_s(); }},
    {"round trip", Unit::Milliseconds, [](const WatchPoint& p) -> Value { return p.rtt_ms; }},
};
constexpr Row kPath[] = {
    {"loss in", Unit::Share, [](const WatchPoint& p) { return p.in().loss_before(); }},
    {"  after", Unit::Share, [](const WatchPoint& p) { return p.in().loss_after(); },
     Row::Scale::OfRowAbove},
    {"loss out", Unit::Share, [](const WatchPoint& p) { return p.out().loss_before(); }},
    {"  after", Unit::Share, [](const WatchPoint& p) { return p.out().loss_after(); },
     Row::Scale::OfRowAbove},
    {"jitter in", Unit::Milliseconds, [](const WatchPoint& p) { return p.jitter_before_ms(); }},
    {"  after", Unit::Milliseconds, [](const WatchPoint& p) { return p.jitter_after_ms(); },
     Row::Scale::OfRowAbove},
    {"overhead out", Unit::Share, [](const WatchPoint& p) { return p.overhead(); }},
};

std::string human(std::optional<double> value, Unit unit) {
  if (!value) return "-";
  if (unit == Unit::Share) return std::format("{:.2f} %", *value * 100);
  if (unit == Unit::Milliseconds) return std::format("{:.1f} ms", *value);
  constexpr std::string_view kUnits[] = {"bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"};
  size_t prefix = 0;
  double rate = *value;
  while (rate >= 999.95 && prefix + 1 < std::size(kUnits)) {
    rate /= 1000;
    ++prefix;
  }
  return prefix == 0 ? std::format("{:.0f} bit/s", rate)
                     : std::format("{:.1f} {}", rate, kUnits[prefix]);
}

// What the row tells as a number: shares of the last seconds, everything else of the last interval.
std::optional<double> present(const WatchHistory& history, const Row& row) {
  if (row.unit == Unit::Share) {
    const auto recent = history.recent();
    return recent ? row.value(*recent) : std::nullopt;
  }
  return history.last() != nullptr ? row.value(*history.last()) : std::nullopt;
}

void draw_rows(std::vector<std::string>& out, std::span<const Row> rows,
               const WatchHistory& history, const FrameOptions& options) {
  const size_t head = kNameWidth + kValueWidth;
  const size_t room = options.columns > head + 2 ? options.columns - head - 2 : 0;
  const bool tells_maximum = room >= kBarsEnough + kMaximumWidth;
  const size_t bars = tells_maximum ? room - kMaximumWidth : room;
  double maximum = 0;
  for (const Row& row : rows) {
    std::string line = std::format("{:<{}}{:>{}}", row.name, kNameWidth,
                                   human(present(history, row), row.unit), kValueWidth);
    if (bars >= kBarsMin) {
      const auto cells = history.cells(bars, row.value);
      if (row.scale == Row::Scale::Own) maximum = 0;
      for (const auto& cell : cells) maximum = std::max(maximum, cell.value_or(0));
      line += "  " + sparkline(cells, maximum, options.charset);
      if (tells_maximum && row.scale == Row::Scale::Own)
        line += std::format("  max {}", human(maximum, row.unit));
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out.push_back(std::move(line));
  }
}

std::vector<std::string> draw_session(const WatchSession& session, const FrameOptions& options) {
  std::vector<std::string> out;
  std::string title = session.user;
  const auto add = [&](std::string_view more) {
    title += std::format("{}{}", title.empty() ? "" : "  ", more);
  };
  if (!session.sample) {
    add("not connected");
  } else {
    add(session.sample->peer);
    add(session.sample->path_layer.empty() ? "no path layer" : session.sample->path_layer);
  }
  out.push_back(title);
  draw_rows(out, kTraffic, session.history, options);
  if (!session.sample || !session.sample->path_layer.empty())
    draw_rows(out, kPath, session.history, options);
  return out;
}

// Nothing that a terminal takes for a command, and no more columns than there are. Bars are the
// only characters of several bytes, and those lines fit.
std::string fitting(std::string text, size_t columns) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  const auto is_continued = [](char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; };
  size_t width = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_continued(text[i])) continue;
    if (width == columns) return text.substr(0, i);
    ++width;
  }
  return text;
}

}  // namespace

std::vector<std::string> draw_frame(const Watcher& watcher, Instant now,
                                    const FrameOptions& options) {
  std::vector<std::string> out;
  out.push_back(std::format("masque-vpn {}: {}", watcher.role(), watcher.state()));
  if (const auto notice = watcher.notice(now); !notice.empty()) out.push_back(notice);
  const size_t footer = 1;
  size_t hidden = watcher.left_out();
  if (watcher.sessions().empty()) {
    out.emplace_back();
    out.emplace_back(watcher.role() == "server" ? "no sessions" : "not connected");
  }
  for (const WatchSession& session : watcher.sessions()) {
    const auto block = draw_session(session, options);
    const bool first = &session == &watcher.sessions().front();
    if (hidden > watcher.left_out() ||
        (!first && out.size() + 1 + block.size() + footer > options.rows)) {
      ++hidden;
      continue;
    }
    out.emplace_back();
    out.insert(out.end(), block.begin(), block.end());
  }
  out.resize(std::min(out.size(), options.rows > footer ? options.rows - footer : 0));
  if (options.rows > 0) {
    out.push_back(hidden == 0 ? "q ends"
                              : std::format("q ends; {} more: choose with --client, or make the "
                                            "terminal larger",
                                            hidden));
  }
  for (auto& line : out) line = fitting(std::move(line), options.columns);
  return out;
}

std::string to_terminal(const std::vector<std::string>& frame) {
  std::string out = "\x1b[H";  // to the first cell
  for (size_t i = 0; i < frame.size(); ++i) {
    // Each line, and what follows it of the frame before.
    out += std::format("{}{}\x1b[K", i == 0 ? "" : "\r\n", frame[i]);
  }
  return out + "\x1b[J";
}

std::string draw_lines(const Watcher& watcher, std::string_view clock) {
  if (watcher.sessions().empty()) return std::format("{} {}\n", clock, watcher.state());
  std::string out;
  for (const WatchSession& session : watcher.sessions()) {
    out += std::format("{} {}{}", clock, session.user, session.user.empty() ? "" : " ");
    if (!session.sample) {
      out += watcher.instance() == Watcher::Instance::Gone ? "gone\n" : "not connected\n";
      continue;
    }
    const auto value = [&](const Row& row) {
      return human(present(session.history, row), row.unit);
    };
    out += std::format("up {}, down {}, round trip {}", value(kTraffic[0]), value(kTraffic[1]),
                       value(kTraffic[2]));
    if (!session.sample->path_layer.empty()) {
      out += std::format(", loss in {} > {}, out {} > {}, jitter {} > {}, overhead {}",
                         value(kPath[0]), value(kPath[1]), value(kPath[2]), value(kPath[3]),
                         value(kPath[4]), value(kPath[5]), value(kPath[6]));
    }
    out += '\n';
  }
  return out;
}

}  // namespace masque
