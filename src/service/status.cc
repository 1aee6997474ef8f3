// SPDX-License-Identifier: Apache-2.0
#include "service/status.h"

#include <algorithm>
#include <utility>

#include "service/status_json.h"

namespace masque {

namespace {

constexpr int kStatusVersion = 1;  // raised only when a field changes its meaning or goes away

int64_t seconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::seconds>(duration).count();
}

double share_of(uint64_t part, uint64_t whole) {
  return share(static_cast<double>(part), static_cast<double>(whole));
}

Json counters_json(const TrafficCounters& counters) {
  Json drops = Json::object();
  uint64_t dropped = 0;
  for (const auto& [reason, packets] : counters.drops) {
    drops[reason] = packets;
    dropped += packets;
  }
  return {{"packets_sent", counters.packets_sent},
          {"bytes_sent", counters.bytes_sent},
          {"packets_received", counters.packets_received},
          {"bytes_received", counters.bytes_received},
          {"packets_dropped", dropped},
          {"drops", drops},
          {"ipv6_probes_unanswered", counters.ipv6_probes_unanswered}};
}

Json classes_json(const ClassesStatus& status) {
  return {{"realtime",
           {{"packets", status.realtime.packets},
            {"by_dscp", status.by_dscp},
            {"by_port", status.by_port},
            {"by_pace", status.by_pace},
            {"waiting_bytes", status.realtime.waiting_bytes},
            {"dropped", status.realtime.dropped}}},
          {"bulk",
           {{"packets", status.bulk.packets},
            {"too_fast", status.too_fast},
            {"waiting_bytes", status.bulk.waiting_bytes},
            {"dropped", status.bulk.dropped}}},
          {"waiting_packets", status.waiting_packets},
          {"marked", status.marked},
          {"codel_dropped", status.codel_dropped},
          {"expired", status.expired},
          {"overflow", status.overflow}};
}

Json class_json(const ResilienceStatus::Class& its) {
  // Given up, and it has not come since.
  const uint64_t gone = its.abandoned - std::min(its.abandoned, its.late);
  const auto& peer = its.at_peer;
  return {{"packets_sent", its.sent},
          {"bytes_sent", its.bytes_sent},
          {"repairs_sent", its.repairs_sent},
          {"repair_bytes_sent", its.repair_bytes_sent},
          {"overhead", share_of(its.repair_bytes_sent, its.bytes_sent + its.repair_bytes_sent)},
          {"resent", its.resent},
          {"loss_sent", its.loss_sent},
          {"packets_received", its.received},
          {"lost", its.lost},
          {"recovered", its.recovered},
          {"abandoned", its.abandoned},
          {"delivered", its.delivered},
          {"late", its.late},
          {"loss_before", share_of(its.lost, its.received)},
          {"loss_after", share_of(gone, its.delivered + gone)},
          {"jitter_before_ms", to_json_milliseconds(its.jitter_before)},
          {"jitter_after_ms", to_json_milliseconds(its.jitter_after)},
          {"at_peer",
           {{"packets_received", peer.received},
            {"lost", peer.lost},
            {"recovered", peer.recovered},
            {"abandoned", peer.abandoned},
            {"loss_before", share_of(peer.lost, peer.received)},
            {"loss_after", share_of(std::min(peer.abandoned, its.sent), its.sent)}}}};
}

Json resilience_json(const ResilienceStatus& status) {
  const auto& release = status.release;
  Json out = {{"mode", status.mode},
              {"code", status.code},
              {"realtime", class_json(status.realtime)},
              {"bulk", class_json(status.bulk)},
              {"release",
               {{"target_ms", to_json_milliseconds(release.target)},
                {"added_ms", to_json_milliseconds(release.added_mean)},
                {"packets", release.packets},
                {"late", release.late},
                {"early", release.early},
                {"waiting", release.waiting}}},
              {"late", status.late},
              {"duplicates", status.duplicates},
              {"damaged", status.damaged},
              {"forged", status.forged},
              {"mean_burst", status.mean_burst},
              {"rtt_ms", to_json_milliseconds(status.rtt)},
              {"queue_ms", to_json_milliseconds(status.queue)},
              {"hold_ms", to_json_milliseconds(status.hold)},
              {"delay_spread_ms", to_json_milliseconds(status.delay_spread)}};
  // A member of its own type or none: null is what nobody expects.
  if (status.rate) out["rate_bytes_s"] = static_cast<uint64_t>(*status.rate);
  return out;
}

// The members of a session, into `out`: the client's lie at the top, the server's in `sessions`.
void add_session(Json& out, const SessionStatus& session) {
  out["peer"] = session.path.peer;
  out["addresses"] = to_json_array(session.addresses);
  out["routes"] = to_json_array(session.routes);
  out["site_routes"] = to_json_array(session.site_routes);
  out["transport"] = session.path.transport;
  out["rtt_ms"] = to_json_milliseconds(session.path.rtt);
  out["mtu"] = session.mtu;
  out["ipv6_probe"] = session.ipv6_probe;
  out["connected_s"] = seconds(session.connected_for);
  out["cipher"] = session.path.cipher;
  out["key_exchange"] = session.path.key_exchange;
  out["udp"] = {{"packets_sent", session.path.udp_sent},
                {"packets_received", session.path.udp_received},
                {"packets_lost", session.path.udp_lost},
                {"congestion_window_bytes", session.path.congestion_window_bytes}};
  out["classes"] = classes_json(session.classes);
  if (session.path.resilience) out["resilience"] = resilience_json(*session.path.resilience);
  out["counters"] = counters_json(session.counters);
}

}  // namespace

std::string_view to_string(ServiceState state) {
  switch (state) {
    case ServiceState::Starting:
      return "starting";
    case ServiceState::Connecting:
      return "connecting";
    case ServiceState::Connected:
      return "connected";
    case ServiceState::Reconnecting:
      return "reconnecting";
    case ServiceState::Listening:
      return "listening";
    case ServiceState::Draining:
      return "draining";
  }
  std::unreachable();
}

Json to_json_object(const ServiceStatus& status) {
  const bool client = status.role == ServiceRole::Client;
  Json out = {{"version", kStatusVersion},
              {"program", "masque-vpn " + status.version},
              {"role", client ? "client" : "server"},
              {"state", to_string(status.state)},
              {"pid", status.pid},
              {"uptime_s", seconds(status.uptime)},
              {"config", status.config_file},
              {"interface", status.interface},
              {"last_error", status.last_error},
              {"resilience_mode", status.resilience_mode}};
  if (client) {
    out["reconnects"] = status.reconnects;
    // Before the first connection the same members are there, empty.
    add_session(out, status.session.value_or(SessionStatus{}));
    return out;
  }
  out["listen"] = status.listen;
  out["transport"] = "h3";
  out["addresses"] = to_json_array(status.addresses);
  out["pools"] = to_json_array(status.pools);
  out["routes"] = to_json_array(status.routes);
  out["counters"] = counters_json(status.counters);
  out["sessions"] = Json::array();
  for (const auto& session : status.sessions) {
    Json item = {{"user", session.user}};
    add_session(item, session);
    out["sessions"].push_back(std::move(item));
  }
  return out;
}

std::string status_to_json(const ServiceStatus& status) {
  return dump_json(to_json_object(status));
}

std::optional<std::string> state_of(std::string_view json) {
  const auto status = parse_json_object(json);
  if (!status) return std::nullopt;
  const std::string state = text_member(*status, "state");
  return state.empty() ? std::nullopt : std::optional(state);
}

}  // namespace masque
