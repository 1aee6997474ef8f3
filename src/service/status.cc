// SPDX-License-Identifier: Apache-2.0
#include "service/status.h"

#include <algorithm>
#include <format>

#include "service/status_json.h"

namespace masque {

namespace {

constexpr int kStatusVersion = 1;  // raised only when a field changes its meaning or goes away

double milliseconds(Duration duration) {
  // Three decimals: microseconds are the finest that means anything.
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
  return static_cast<double>(us) / 1000.0;
}

int64_t seconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::seconds>(duration).count();
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
          {"drops", drops}};
}

Json class_json(const ResilienceStatus::Class& its) {
  return {{"packets_sent", its.sent},
          {"bytes_sent", its.bytes_sent},
          {"repairs_sent", its.repairs_sent},
          {"repair_bytes_sent", its.repair_bytes_sent},
          {"resent", its.resent},
          {"loss_sent", its.loss_sent},
          {"packets_received", its.received},
          {"lost", its.lost},
          {"recovered", its.recovered},
          {"abandoned", its.abandoned}};
}

Json resilience_json(const ResilienceStatus& status) {
  Json out = {{"realtime", class_json(status.realtime)},
              {"bulk", class_json(status.bulk)},
              {"late", status.late},
              {"duplicates", status.duplicates},
              {"damaged", status.damaged},
              {"forged", status.forged},
              {"mean_burst", status.mean_burst},
              {"rtt_ms", milliseconds(status.rtt)},
              {"queue_ms", milliseconds(status.queue)},
              {"hold_ms", milliseconds(status.hold)},
              {"delay_spread_ms", milliseconds(status.delay_spread)}};
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
  out["rtt_ms"] = milliseconds(session.path.rtt);
  out["mtu"] = session.mtu;
  out["connected_s"] = seconds(session.connected_for);
  out["cipher"] = session.path.cipher;
  out["key_exchange"] = session.path.key_exchange;
  out["udp"] = {{"packets_sent", session.path.udp_sent},
                {"packets_received", session.path.udp_received},
                {"packets_lost", session.path.udp_lost},
                {"congestion_window_bytes", session.path.congestion_window_bytes}};
  if (session.path.resilience) out["resilience"] = resilience_json(*session.path.resilience);
  out["counters"] = counters_json(session.counters);
}

std::string joined(const Json& list) {
  std::string out;
  for (const auto& item : list) {
    if (item.is_string()) out += (out.empty() ? "" : " ") + item.get<std::string>();
  }
  return out.empty() ? "-" : out;
}

std::string text_member(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

double number_member(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}

Json child(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() ? *found : Json();
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

void add_resilience(std::string& out, const Json& status) {
  const Json resilience = child(status, "resilience");
  if (!resilience.is_object()) return;
  for (const char* name : {"realtime", "bulk"}) {
    const Json its = child(resilience, name);
    const double bytes = number_member(its, "bytes_sent");
    const double overhead = bytes > 0 ? number_member(its, "repair_bytes_sent") / bytes * 100 : 0;
    line(out, name,
         std::format("{:.2f} % of what is sent is lost, {:.1f} % overhead; of {:.0f} received "
                     "{:.0f} were lost, {:.0f} recovered, {:.0f} given up",
                     number_member(its, "loss_sent") * 100, overhead,
                     number_member(its, "packets_received"), number_member(its, "lost"),
                     number_member(its, "recovered"), number_member(its, "abandoned")));
  }
  const double rate = number_member(resilience, "rate_bytes_s");
  line(out, "path",
       std::format(
           "queue {:.1f} ms, hold {:.1f} ms, bursts of {:.1f}, {}",
           number_member(resilience, "queue_ms"), number_member(resilience, "hold_ms"),
           number_member(resilience, "mean_burst"),
           rate > 0 ? std::format("{:.1f} Mbit/s allowed", rate * 8e-6) : std::string("no limit")));
}

void client_text(std::string& out, const Json& status) {
  line(out, "peer", text_member(status, "peer"));
  line(out, "addresses", joined(child(status, "addresses")));
  line(out, "routes", joined(child(status, "routes")));
  line(out, "interface",
       std::format("{}, MTU {:.0f}", text_member(status, "interface"),
                   number_member(status, "mtu")));
  line(out, "transport",
       std::format("{} {} {}", text_member(status, "transport"), text_member(status, "cipher"),
                   text_member(status, "key_exchange")));
  line(out, "round trip", std::format("{:.1f} ms", number_member(status, "rtt_ms")));
  line(out, "connected", "for " + human_time(number_member(status, "connected_s")));
  add_resilience(out, status);
}

void server_text(std::string& out, const Json& status) {
  line(out, "listens on", text_member(status, "listen"));
  line(out, "addresses", joined(child(status, "addresses")));
  line(out, "pools", joined(child(status, "pools")));
  line(out, "routes", joined(child(status, "routes")));
  line(out, "interface", text_member(status, "interface"));
  const Json sessions = child(status, "sessions");
  line(out, "sessions", std::format("{}", sessions.size()));
  if (!sessions.is_array() || sessions.empty()) return;
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

std::optional<Json> parse_json_object(std::string_view text) {
  int depth = 0;
  bool too_deep = false;
  const auto watch = [&](int level, Json::parse_event_t event, Json&) {
    if (event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start) {
      depth = std::max(depth, level);
      too_deep = too_deep || level >= kJsonDepthMax;
    }
    return !too_deep;
  };
  Json json = Json::parse(text, watch, /*allow_exceptions=*/false);
  if (json.is_discarded() || too_deep || !json.is_object()) return std::nullopt;
  return json;
}

std::string dump_json(const Json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

Json to_json_array(const std::vector<IpPrefix>& prefixes) {
  Json out = Json::array();
  for (const auto& prefix : prefixes) out.push_back(prefix.to_string());
  return out;
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
              {"last_error", status.last_error}};
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

std::optional<std::string> state_of(std::string_view json) {
  const auto status = parse_json_object(json);
  if (!status) return std::nullopt;
  const std::string state = text_member(*status, "state");
  return state.empty() ? std::nullopt : std::optional(state);
}

}  // namespace masque
