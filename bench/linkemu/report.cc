// SPDX-License-Identifier: Apache-2.0
#include "linkemu/report.h"

#include <sched.h>
#include <sys/resource.h>

#include <format>
#include <span>
#include <string_view>
#include <utility>

#include "sim/link_profiles.h"

namespace masque::linkemu {

namespace {

constexpr std::array kDirections = {Direction::Up, Direction::Down};

std::string_view name_of(Direction direction) { return direction == Direction::Up ? "up" : "down"; }
std::string_view name_of(Mode mode) { return mode == Mode::Relay ? "relay" : "bridge"; }

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }
double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}
double milliseconds_of(Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

// Names and numbers only, so that nothing needs escapes but file names and interfaces.
std::string json_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) out += c;
  }
  return out + '"';
}

std::string direction_json(const ReportSource& source, Direction direction, double elapsed) {
  const Link::Counters& c = source.emulator.link(direction).link().counters();
  const Emulator::Counters& own = source.emulator.counters();
  const auto i = static_cast<size_t>(direction);
  const uint64_t lost = c.lost + c.burst_lost;
  return std::format(
      R"({{"profile":{},"packets":{},"bytes":{},"delivered":{},"sent_packets":{},"sent_bytes":{},)"
      R"("lost":{},"burst_lost":{},"loss_share":{:.6f},"queue_dropped":{},"policed":{},)"
      R"("too_big":{},"swallowed":{},"duplicated":{},"corrupted":{},"reordered":{},)"
      R"("wait_max_ms":{:.3f},"sent_mbit_per_s":{:.3f}}})",
      json_text(source.settings.profiles[i]), c.packets, c.bytes, c.delivered, own.sent_packets[i],
      own.sent_bytes[i], c.lost, c.burst_lost,
      c.packets > 0 ? static_cast<double>(lost) / static_cast<double>(c.packets) : 0.0,
      c.queue_dropped, c.policed, c.too_big, c.swallowed, c.duplicated, c.corrupted, c.reordered,
      milliseconds_of(c.wait_max),
      elapsed > 0 ? static_cast<double>(own.sent_bytes[i]) * 8 / 1e6 / elapsed : 0.0);
}

std::string emulator_json(const ReportSource& source) {
  const Emulator::Counters& own = source.emulator.counters();
  const PacketIo::Counters& io = source.io.counters();
  const DelayError& error = source.emulator.delay_error();
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return std::format(
      R"({{"held":{},"held_max":{},"held_dropped":{},"receive_dropped":{},"send_failed":{},)"
      R"("unreadable":{},"control":{},"super_packets":{},"checksums":{},"flows":{},)"
      R"("flows_refused":{},"delay_error_us":{{"p50":{},"p99":{},"max":{}}},)"
      R"("cpu_s":{{"user":{:.3f},"system":{:.3f}}},"wakeups":{},"priority":"{}"}})",
      source.emulator.held(), own.held_max, own.held_dropped, io.receive_dropped, io.send_failed,
      io.unreadable, io.control, io.super_packets, io.checksums, io.flows, io.flows_refused,
      error.percentile_us(0.50), error.percentile_us(0.99), error.max_us(), seconds(usage.ru_utime),
      seconds(usage.ru_stime), usage.ru_nvcsw,
      ::sched_getscheduler(0) == SCHED_FIFO ? "realtime" : "ordinary");
}

std::string options_json(const LinkPlan& plan) {
  const LinkOptions& o = plan.options;
  std::string text = std::format(
      R"({{"rate_bit_per_s":{},"queue_bytes":{},"queue_ms":{},"delay_ms":{},"walk_ms":{},)"
      R"("jitter_ms":{},"order":"{}","loss_share":{},"burst_enter":{},"burst_leave":{},)"
      R"("police_bit_per_s":{},"duplicate_share":{},"corrupt_share":{},"outages":[)",
      o.rate_bits_per_second, o.queue_time_max > Duration::zero() ? 0 : o.queue_bytes_max,
      milliseconds_of(o.queue_time_max), milliseconds_of(o.delay), milliseconds_of(o.walk_width),
      milliseconds_of(o.jitter), o.order == LinkOptions::Order::Kept ? "kept" : "free",
      o.loss_ppm / 1e6, o.burst_enter_ppm / 1e6, o.burst_leave_ppm / 1e6, o.police_bits_per_second,
      o.duplicate_ppm / 1e6, o.corrupt_ppm / 1e6);
  for (size_t i = 0; i < plan.outages.size(); ++i) {
    const LinkOutage& outage = plan.outages[i];
    text += std::format(R"({}{{"at_s":{},"length_s":{},"every_s":{}}})", i > 0 ? "," : "",
                        seconds(outage.at), seconds(outage.length), seconds(outage.every));
  }
  return text + "]}";
}

}  // namespace

std::string json_report(const ReportSource& source, Instant now) {
  const double elapsed = seconds(now - source.emulator.start());
  std::string text =
      std::format(R"({{"tool":"masque-linkemu","mode":"{}","places":[{},{}],)"
                  R"("seed":{},"elapsed_s":{:.3f})",
                  name_of(source.settings.mode), json_text(source.settings.places[0]),
                  json_text(source.settings.places[1]), source.settings.seed, elapsed);
  for (const Direction direction : kDirections) {
    text +=
        std::format(R"(,"{}":{})", name_of(direction), direction_json(source, direction, elapsed));
  }
  return text + std::format(R"(,"emulator":{}}})", emulator_json(source));
}

std::string text_report(const ReportSource& source, Instant now) {
  std::string text;
  const auto row = [&](std::string_view what, auto&& value) {
    text += std::format("{:<14}", what);
    for (const Direction direction : kDirections) text += std::format("{:>14}", value(direction));
    text += '\n';
  };
  const auto counters = [&](Direction d) -> const Link::Counters& {
    return source.emulator.link(d).link().counters();
  };
  row("", [&](Direction d) { return name_of(d); });
  row("profile", [&](Direction d) { return source.settings.profiles[static_cast<size_t>(d)]; });
  row("packets", [&](Direction d) { return counters(d).packets; });
  row("delivered", [&](Direction d) { return counters(d).delivered; });
  row("lost", [&](Direction d) { return counters(d).lost; });
  row("burst lost", [&](Direction d) { return counters(d).burst_lost; });
  row("queue full", [&](Direction d) { return counters(d).queue_dropped; });
  row("policed", [&](Direction d) { return counters(d).policed; });
  row("too big", [&](Direction d) { return counters(d).too_big; });
  row("swallowed", [&](Direction d) { return counters(d).swallowed; });
  row("duplicated", [&](Direction d) { return counters(d).duplicated; });
  row("corrupted", [&](Direction d) { return counters(d).corrupted; });
  row("reordered", [&](Direction d) { return counters(d).reordered; });
  row("longest wait",
      [&](Direction d) { return std::format("{:.1f} ms", milliseconds_of(counters(d).wait_max)); });
  const PacketIo::Counters& io = source.io.counters();
  const DelayError& error = source.emulator.delay_error();
  text += std::format(
      "{:.1f} s, delay error p50 {} us, p99 {} us, max {} us; not emulated: {} without memory, {} "
      "before reading, {} at sending, {} unreadable\n",
      seconds(now - source.emulator.start()), error.percentile_us(0.50), error.percentile_us(0.99),
      error.max_us(), source.emulator.counters().held_dropped, io.receive_dropped, io.send_failed,
      io.unreadable);
  return text;
}

std::string live_line(const ReportSource& source, Instant now) {
  std::string text = std::format("{:7.1f} s", seconds(now - source.emulator.start()));
  for (const Direction direction : kDirections) {
    const Link::Counters& c = source.emulator.link(direction).link().counters();
    text += std::format("  {}: {} packets, {} lost, {} queue full", name_of(direction), c.packets,
                        c.lost + c.burst_lost, c.queue_dropped + c.policed);
  }
  return text + std::format("  held {}", source.emulator.held());
}

std::string profiles_json() {
  std::string text = "[";
  for (const LinkProfile& profile : link_profiles()) {
    text += std::format(R"({}{{"name":"{}","summary":"{}","up":{},"down":{}}})",
                        text.size() > 1 ? ",\n " : "", profile.name, profile.summary,
                        options_json(profile.up), options_json(profile.down));
  }
  return text + "]\n";
}

std::string profiles_text() {
  std::string text;
  for (const LinkProfile& profile : link_profiles()) {
    text += std::format("{:<18}{}\n", profile.name, profile.summary);
  }
  return text;
}

}  // namespace masque::linkemu
