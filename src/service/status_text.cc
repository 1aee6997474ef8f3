// SPDX-License-Identifier: Apache-2.0
// `masque-vpn status` for people, from the JSON, whoever wrote it.
#include <format>

#include "service/status.h"
#include "service/status_json.h"

namespace masque {

namespace {

std::string joined(const Json& list) {
  std::string out;
  for (const auto& item : list) {
    if (item.is_string()) out += (out.empty() ? "" : " ") + item.get<std::string>();
  }
  return out.empty() ? "-" : out;
}

std::string human_bytes(double bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  size_t unit = 0;
  while (bytes >= 1000 && unit + 1 < std::size(kUnits)) {
    bytes /= 1000;
    ++unit;
  }
  return unit == 0 ? std::format("{:.0f} B", bytes) : std::format("{:.1f} {}", bytes, kUnits[unit]);
}

std::string human_time(double total) {
  const auto s = static_cast<int64_t>(total);
  if (s < 60) return std::format("{} s", s);
  if (s < 3600) return std::format("{} min {} s", s / 60, s % 60);
  if (s < 86'400) return std::format("{} h {} min", s / 3600, s % 3600 / 60);
  return std::format("{} d {} h", s / 86'400, s % 86'400 / 3600);
}

std::string human_share(double share) { return std::format("{:.2f} %", share * 100); }

std::string human_counters(const Json& counters) {
  return std::format(
      "{} in {:.0f} packets sent, {} in {:.0f} received, {:.0f} dropped",
      human_bytes(number_member(counters, "bytes_sent")), number_member(counters, "packets_sent"),
      human_bytes(number_member(counters, "bytes_received")),
      number_member(counters, "packets_received"), number_member(counters, "packets_dropped"));
}

void line(std::string& out, std::string_view name, std::string_view value) {
  if (!value.empty()) out += std::format("{:<12} {}\n", name, value);
}

void add_drops(std::string& out, const Json& counters) {
  const Json drops = child(counters, "drops");
  if (!drops.is_object()) return;
  for (const auto& [reason, packets] : drops.items()) {
    if (packets.is_number())
      line(out, "dropped", std::format("{:.0f} {}", packets.get<double>(), reason));
  }
}

// ---- resilience ---------------------------------------------------------------------------------

constexpr struct {
  const char* member;
  const char* name;
} kClasses[] = {{"realtime", "real time"}, {"bulk", "bulk"}};

struct LossRow {
  std::string_view direction;
  std::string_view traffic_class;
  double packets = 0;
  const Json& figures;  // loss_before, loss_after, recovered, abandoned
  std::string late;
  std::string jitter;
  std::string overhead;
};

void add_loss_row(std::string& out, const LossRow& row) {
  out += std::format("{:<12} {:<9} {:>9.0f} {:>9} {:>8} {:>9.0f} {:>5} {:>6.0f}  {:>14} {:>9}\n",
                     row.direction, row.traffic_class, row.packets,
                     human_share(number_member(row.figures, "loss_before")),
                     human_share(number_member(row.figures, "loss_after")),
                     number_member(row.figures, "recovered"), row.late,
                     number_member(row.figures, "abandoned"), row.jitter, row.overhead);
}

void add_loss_table(std::string& out, const Json& resilience) {
  out += std::format("{:<12} {:<9} {:>9} {:>9} {:>8} {:>9} {:>5} {:>6}  {:>14} {:>9}\n", "",
                     "CLASS", "PACKETS", "WIRE LOSS", "AFTER", "RECOVERED", "LATE", "LOST",
                     "JITTER ms", "OVERHEAD");
  for (const auto& [member, name] : kClasses) {
    const Json its = child(resilience, member);
    const Json at_peer = child(its, "at_peer");
    add_loss_row(out, {.direction = "sent",
                       .traffic_class = name,
                       .packets = number_member(its, "packets_sent"),
                       .figures = at_peer,
                       .late = "-",
                       .jitter = "-",
                       .overhead = std::format("{:.1f} %", number_member(its, "overhead") * 100)});
  }
  for (const auto& [member, name] : kClasses) {
    const Json its = child(resilience, member);
    add_loss_row(out,
                 {.direction = "received",
                  .traffic_class = name,
                  .packets = number_member(its, "delivered"),
                  .figures = its,
                  .late = std::format("{:.0f}", number_member(its, "late")),
                  .jitter = std::format("{:.1f} > {:.1f}", number_member(its, "jitter_before_ms"),
                                        number_member(its, "jitter_after_ms")),
                  .overhead = "-"});
  }
}

void add_release(std::string& out, const Json& resilience) {
  const Json release = child(resilience, "release");
  if (number_member(release, "packets") == 0) return;
  line(out, "release",
       std::format("real time {:.1f} ms after the fastest packet, {:.1f} ms of waiting; of {:.0f} "
                   "packets {:.0f} late, {:.0f} early",
                   number_member(release, "target_ms"), number_member(release, "added_ms"),
                   number_member(release, "packets"), number_member(release, "late"),
                   number_member(release, "early")));
}

void add_classes(std::string& out, const Json& session) {
  const Json classes = child(session, "classes");
  if (!classes.is_object()) return;
  const Json realtime = child(classes, "realtime");
  const Json bulk = child(classes, "bulk");
  line(out, "classes",
       std::format("{:.0f} packets real time ({:.0f} by DSCP, {:.0f} by port, {:.0f} by pace), "
                   "{:.0f} bulk ({:.0f} of them too fast for real time)",
                   number_member(realtime, "packets"), number_member(realtime, "by_dscp"),
                   number_member(realtime, "by_port"), number_member(realtime, "by_pace"),
                   number_member(bulk, "packets"), number_member(bulk, "too_fast")));
  line(out, "queue",
       std::format("{:.0f} packets wait ({} real time, {} bulk); {:.0f} marked, {:.0f} dropped by "
                   "CoDel, {:.0f} expired, {:.0f} without room",
                   number_member(classes, "waiting_packets"),
                   human_bytes(number_member(realtime, "waiting_bytes")),
                   human_bytes(number_member(bulk, "waiting_bytes")),
                   number_member(classes, "marked"), number_member(classes, "codel_dropped"),
                   number_member(classes, "expired"), number_member(classes, "overflow")));
}

// `mode`: that of this end's configuration; empty: a daemon that does not tell.
void add_resilience(std::string& out, const Json& session, const std::string& mode) {
  const Json resilience = child(session, "resilience");
  if (!resilience.is_object()) {
    if (mode == "off") {
      line(out, "resilience", "off: [resilience] mode is \"off\" here");
    } else if (!mode.empty() && !text_member(session, "peer").empty()) {
      line(out, "resilience",
           std::format("not in use: [resilience] mode is \"{}\" here, and the other end does not "
                       "know it or has it off",
                       mode));
    }
    return;
  }
  const double rate = number_member(resilience, "rate_bytes_s");
  line(out, "resilience",
       std::format(
           "{}, {}; round trip {:.1f} ms, queue {:.1f} ms, hold {:.1f} ms, bursts of "
           "{:.1f}, {}",
           text_member(resilience, "mode"), text_member(resilience, "code"),
           number_member(resilience, "rtt_ms"), number_member(resilience, "queue_ms"),
           number_member(resilience, "hold_ms"), number_member(resilience, "mean_burst"),
           rate > 0 ? std::format("{:.1f} Mbit/s allowed", rate * 8e-6) : std::string("no limit")));
  add_loss_table(out, resilience);
  add_release(out, resilience);
  add_classes(out, session);
}

// ---- the two kinds ------------------------------------------------------------------------------

void client_text(std::string& out, const Json& status) {
  line(out, "peer", text_member(status, "peer"));
  line(out, "addresses", joined(child(status, "addresses")));
  line(out, "routes", joined(child(status, "routes")));
  line(out, "interface",
       std::format("{}, MTU {:.0f}", text_member(status, "interface"),
                   number_member(status, "mtu")));
  if (text_member(status, "ipv6_probe") == "unanswered") {
    line(out, "IPv6", "the gateway answers no pings: whether 1280 bytes pass is not known");
  }
  line(out, "transport",
       std::format("{} {} {}", text_member(status, "transport"), text_member(status, "cipher"),
                   text_member(status, "key_exchange")));
  line(out, "round trip", std::format("{:.1f} ms", number_member(status, "rtt_ms")));
  line(out, "connected", "for " + human_time(number_member(status, "connected_s")));
  add_resilience(out, status, text_member(status, "resilience_mode"));
}

void add_sessions(std::string& out, const Json& sessions, const std::string& mode) {
  out += std::format("\n{:<20} {:<26} {:<24} {:>9} {:>12}  {}\n", "USER", "PEER", "ADDRESSES",
                     "RTT ms", "CONNECTED", "TRAFFIC (sent / received)");
  for (const auto& session : sessions) {
    const Json counters = child(session, "counters");
    out += std::format("{:<20} {:<26} {:<24} {:>9.1f} {:>12}  {} / {}\n",
                       text_member(session, "user"), text_member(session, "peer"),
                       joined(child(session, "addresses")), number_member(session, "rtt_ms"),
                       human_time(number_member(session, "connected_s")),
                       human_bytes(number_member(counters, "bytes_sent")),
                       human_bytes(number_member(counters, "bytes_received")));
  }
  out += '\n';
  if (mode == "off") return;
  for (const auto& session : sessions) {
    std::string block;
    add_resilience(block, session, mode);
    if (!block.empty()) out += text_member(session, "user") + ":\n" + block + "\n";
  }
}

void server_text(std::string& out, const Json& status) {
  const std::string mode = text_member(status, "resilience_mode");
  line(out, "listens on", text_member(status, "listen"));
  line(out, "addresses", joined(child(status, "addresses")));
  line(out, "pools", joined(child(status, "pools")));
  line(out, "routes", joined(child(status, "routes")));
  line(out, "interface", text_member(status, "interface"));
  if (mode == "off") add_resilience(out, {}, mode);
  const Json sessions = child(status, "sessions");
  line(out, "sessions", std::format("{}", sessions.size()));
  if (sessions.is_array() && !sessions.empty()) add_sessions(out, sessions, mode);
}

}  // namespace

std::string status_to_text(std::string_view json) {
  const auto status = parse_json_object(json);
  if (!status) return "the answer is not a status\n";
  std::string out;
  line(out, "state", text_member(*status, "state"));
  line(out, "last error", text_member(*status, "last_error"));
  line(out, "role", text_member(*status, "role"));
  text_member(*status, "role") == "server" ? server_text(out, *status) : client_text(out, *status);
  const Json counters = child(*status, "counters");
  line(out, "traffic", human_counters(counters));
  add_drops(out, counters);
  line(out, "running",
       std::format("for {}, {}, process {:.0f}", human_time(number_member(*status, "uptime_s")),
                   text_member(*status, "program"), number_member(*status, "pid")));
  return out;
}

}  // namespace masque
