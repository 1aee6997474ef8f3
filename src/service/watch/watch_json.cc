// SPDX-License-Identifier: Apache-2.0
// `masque-vpn watch --json`.
#include "service/status_json.h"
#include "service/watch/watch_frame.h"

namespace masque {

namespace {

// A share that nothing says anything about is 0: there was nothing to lose.
Json flow_json(const WatchFlow& flow) {
  return {{"packets", std::max(flow.packets, 0.0)},
          {"recovered", std::max(flow.recovered, 0.0)},
          {"loss_before", flow.loss_before().value_or(0)},
          {"loss_after", flow.loss_after().value_or(0)}};
}

Json both_json(const WatchPoint& point, WatchFlow WatchClass::* direction) {
  return {{"realtime",
           flow_json(point.classes[static_cast<size_t>(TrafficClass::RealTime)].*direction)},
          {"bulk", flow_json(point.classes[static_cast<size_t>(TrafficClass::Bulk)].*direction)}};
}

Json session_json(const WatchSession& session) {
  Json out = {{"client", session.user}, {"connected", session.sample.has_value()}};
  const WatchPoint* point = session.history.last();
  if (point == nullptr) return out;
  out["interval_s"] = point->seconds;
  out["up_bit_s"] = point->up_bit_s();
  out["down_bit_s"] = point->down_bit_s();
  out["rtt_ms"] = point->rtt_ms;
  if (!session.sample || session.sample->path_layer.empty()) return out;
  out["sent"] = both_json(*point, &WatchClass::out);
  out["received"] = both_json(*point, &WatchClass::in);
  out["overhead"] = point->overhead().value_or(0);
  if (const auto before = point->jitter_before_ms()) out["jitter_before_ms"] = *before;
  if (const auto after = point->jitter_after_ms()) out["jitter_after_ms"] = *after;
  return out;
}

}  // namespace

std::string draw_json(const Watcher& watcher, Instant now, std::string_view time) {
  Json out = {{"time", time}, {"role", watcher.role()}, {"state", watcher.state()}};
  if (watcher.instance() == Watcher::Instance::Gone) out["error"] = watcher.notice(now);
  if (watcher.instance() == Watcher::Instance::Restarted) out["restarted"] = true;
  out["sessions"] = Json::array();
  for (const WatchSession& session : watcher.sessions())
    out["sessions"].push_back(session_json(session));
  if (watcher.left_out() > 0) out["sessions_left_out"] = watcher.left_out();
  return dump_json(out) + "\n";
}

}  // namespace masque
