// SPDX-License-Identifier: Apache-2.0
#include "service/watch/watch_sample.h"

#include <algorithm>
#include <format>

#include "service/status_json.h"

namespace masque {

namespace {

std::optional<double> share_of(double part, double whole) {
  if (!(whole > 0)) return std::nullopt;
  return std::clamp(part / whole, 0.0, 1.0);
}

WatchClass read_class(const Json& json) {
  WatchClass out;
  const double gone = std::max(number_member(json, "abandoned") - number_member(json, "late"), 0.0);
  out.in = {.packets = number_member(json, "delivered") + gone,
            .settled = number_member(json, "packets_received"),
            .lost = number_member(json, "lost"),
            .recovered = number_member(json, "recovered"),
            .gone = gone};
  const Json at_peer = child(json, "at_peer");
  out.out = {.packets = number_member(json, "packets_sent"),
             .settled = number_member(at_peer, "packets_received"),
             .lost = number_member(at_peer, "lost"),
             .recovered = number_member(at_peer, "recovered"),
             .gone = number_member(at_peer, "abandoned")};
  out.jitter_before_ms = number_member(json, "jitter_before_ms");
  out.jitter_after_ms = number_member(json, "jitter_after_ms");
  return out;
}

WatchSample read_session(const Json& json) {
  const Json counters = child(json, "counters");
  WatchSample out{.user = text_member(json, "user"),
                  .peer = text_member(json, "peer"),
                  .path_layer = {},
                  .connected_s = number_member(json, "connected_s"),
                  .rtt_ms = number_member(json, "rtt_ms"),
                  .bytes_sent = number_member(counters, "bytes_sent"),
                  .bytes_received = number_member(counters, "bytes_received")};
  const Json resilience = child(json, "resilience");
  if (!resilience.is_object()) return out;
  out.path_layer =
      std::format("{}, {}", text_member(resilience, "mode"), text_member(resilience, "code"));
  if (const double rtt = number_member(resilience, "rtt_ms"); rtt > 0) out.rtt_ms = rtt;
  constexpr std::pair<TrafficClass, const char*> kNames[] = {{TrafficClass::RealTime, "realtime"},
                                                             {TrafficClass::Bulk, "bulk"}};
  for (const auto& [traffic_class, name] : kNames) {
    const Json its = child(resilience, name);
    const double repairs = number_member(its, "repair_bytes_sent");
    out.path_bytes += number_member(its, "bytes_sent") + repairs;
    out.repair_bytes += repairs;
    out.classes[static_cast<size_t>(traffic_class)] = read_class(its);
  }
  return out;
}

}  // namespace

std::optional<double> WatchFlow::loss_before() const { return share_of(lost, settled); }
std::optional<double> WatchFlow::loss_after() const { return share_of(gone, packets); }

WatchFlow& WatchFlow::operator+=(const WatchFlow& other) {
  packets += other.packets;
  settled += other.settled;
  lost += other.lost;
  recovered += other.recovered;
  gone += other.gone;
  return *this;
}

WatchFlow operator-(const WatchFlow& a, const WatchFlow& b) {
  return {.packets = a.packets - b.packets,
          .settled = a.settled - b.settled,
          .lost = a.lost - b.lost,
          .recovered = a.recovered - b.recovered,
          .gone = a.gone - b.gone};
}

std::optional<WatchStatus> read_watch_status(std::string_view status_json) {
  const auto json = parse_json_object(status_json);
  if (!json) return std::nullopt;
  WatchStatus out{.role = text_member(*json, "role"),
                  .state = text_member(*json, "state"),
                  .pid = number_member(*json, "pid"),
                  .sessions = {}};
  if (out.state.empty()) return std::nullopt;
  if (out.role == "server") {
    const Json sessions = child(*json, "sessions");
    for (const auto& session : sessions) out.sessions.push_back(read_session(session));
  } else if (out.state == "connected") {
    out.sessions.push_back(read_session(*json));
  }
  return out;
}

std::optional<double> WatchPoint::overhead() const { return share_of(repair_bytes, path_bytes); }

WatchFlow WatchPoint::in() const {
  WatchFlow out;
  for (const auto& its : classes) out += its.in;
  return out;
}

WatchFlow WatchPoint::out() const {
  WatchFlow sum;
  for (const auto& its : classes) sum += its.out;
  return sum;
}

const WatchClass* WatchPoint::class_with_jitter() const {
  for (const TrafficClass c : {TrafficClass::RealTime, TrafficClass::Bulk}) {
    const WatchClass& its = classes[static_cast<size_t>(c)];
    if (its.in.packets > 0) return &its;
  }
  return nullptr;
}

std::optional<double> WatchPoint::jitter_before_ms() const {
  const WatchClass* its = class_with_jitter();
  return its != nullptr ? std::optional(its->jitter_before_ms) : std::nullopt;
}

std::optional<double> WatchPoint::jitter_after_ms() const {
  const WatchClass* its = class_with_jitter();
  return its != nullptr ? std::optional(its->jitter_after_ms) : std::nullopt;
}

void WatchPoint::extend(const WatchPoint& later) {
  seconds += later.seconds;
  up_bytes += later.up_bytes;
  down_bytes += later.down_bytes;
  rtt_ms = later.rtt_ms;
  path_bytes += later.path_bytes;
  repair_bytes += later.repair_bytes;
  for (size_t i = 0; i < classes.size(); ++i) {
    classes[i].in += later.classes[i].in;
    classes[i].out += later.classes[i].out;
    classes[i].jitter_before_ms = later.classes[i].jitter_before_ms;
    classes[i].jitter_after_ms = later.classes[i].jitter_after_ms;
  }
}

std::optional<WatchPoint> watch_point(const WatchSample& before, const WatchSample& after,
                                      Duration span) {
  const bool anew = after.bytes_sent < before.bytes_sent ||
                    after.bytes_received < before.bytes_received ||
                    after.path_bytes < before.path_bytes || after.connected_s < before.connected_s;
  if (anew || span <= Duration::zero()) return std::nullopt;
  WatchPoint out{.seconds = static_cast<double>(span.count()) * 1e-9,
                 .up_bytes = after.bytes_sent - before.bytes_sent,
                 .down_bytes = after.bytes_received - before.bytes_received,
                 .rtt_ms = after.rtt_ms,
                 .path_bytes = after.path_bytes - before.path_bytes,
                 .repair_bytes = after.repair_bytes - before.repair_bytes};
  for (size_t i = 0; i < out.classes.size(); ++i) {
    const WatchClass& now = after.classes[i];
    out.classes[i] = {.in = now.in - before.classes[i].in,
                      .out = now.out - before.classes[i].out,
                      .jitter_before_ms = now.jitter_before_ms,
                      .jitter_after_ms = now.jitter_after_ms};
  }
  return out;
}

}  // namespace masque
