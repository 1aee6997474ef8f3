// SPDX-License-Identifier: Apache-2.0
// What `masque-vpn status` tells, as plain values: the worker fills them, status_to_json() writes
// the stable JSON of docs/operating.md (fields are only ever added) and status_to_text() the text
// for people.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "core/ip/address.h"

namespace masque {

// Printed in lower case; scripts wait for "connected" (client) and "listening" (server).
enum class ServiceState : uint8_t {
  Starting,      // not on the network yet
  Connecting,    // client: first attempt under way
  Connected,     // client: addresses assigned, packets flow
  Reconnecting,  // client: was connected, trying again
  Listening,     // server: accepts clients
  Draining,      // says goodbye, SIGTERM was received
};
std::string_view to_string(ServiceState state);

struct DropCount {
  std::string reason;  // stable: the name of the counter
  uint64_t packets = 0;
};

// Inner packets; sent = into the tunnel towards the peer, received = out of it.
struct TrafficCounters {
  uint64_t packets_sent = 0;
  uint64_t bytes_sent = 0;
  uint64_t packets_received = 0;
  uint64_t bytes_received = 0;
  uint64_t ipv6_probes_unanswered = 0;
  std::vector<DropCount> drops;  // only reasons that occurred
};

// The path layer under a session. What is sent is told as the peer sees it arrive, the rest as we
// see what comes.
struct ResilienceStatus {
  struct Class {
    uint64_t sent = 0;  // packets
    uint64_t repairs_sent = 0;
    uint64_t resent = 0;
    uint64_t bytes_sent = 0;
    uint64_t repair_bytes_sent = 0;
    double loss_sent = 0;   // recent share lost on the wire
    uint64_t received = 0;  // packets of the peer whose fate is known
    uint64_t lost = 0;      // of these: on the wire
    uint64_t recovered = 0;
    uint64_t abandoned = 0;  // not brought back in time
    uint64_t delivered = 0;  // packets of the peer that came out of the layer
    uint64_t late = 0;       // of these: after they had been given up
    // Of what we sent, as the peer tells: those of which it knows the fate, and so on.
    struct AtPeer {
      uint64_t received = 0;
      uint64_t lost = 0;
      uint64_t recovered = 0;
      uint64_t abandoned = 0;
    } at_peer;
    Duration jitter_before{};  // RFC 3550, of what came in
    Duration jitter_after{};
  };
  // Real-time packets are handed on `target` after the fastest one would have come.
  struct Release {
    Duration target{};
    Duration added_mean{};
    uint64_t packets = 0;
    uint64_t late = 0;
    uint64_t early = 0;
    uint64_t waiting = 0;
  };
  std::string mode;
  std::string code;
  Class realtime;
  Class bulk;
  Release release;
  uint64_t late = 0;
  uint64_t duplicates = 0;
  uint64_t damaged = 0;
  uint64_t forged = 0;
  double mean_burst = 1;
  Duration rtt{};
  Duration queue{};
  Duration hold{};
  Duration delay_spread{};
  std::optional<double> rate;  // bytes per second; nullopt: unlimited
};

// What goes to the peer, by class, also without a path layer.
struct ClassesStatus {
  struct Class {
    uint64_t packets = 0;  // that were found to be of this class
    uint64_t waiting_bytes = 0;
    uint64_t dropped = 0;  // while they waited
  };
  Class realtime;
  Class bulk;
  uint64_t by_dscp = 0;  // real time, by which rule
  uint64_t by_port = 0;
  uint64_t by_pace = 0;
  uint64_t too_fast = 0;  // bulk, because it was too much for real time
  uint64_t waiting_packets = 0;
  uint64_t marked = 0;  // ECN CE instead of a drop
  uint64_t codel_dropped = 0;
  uint64_t expired = 0;
  uint64_t overflow = 0;
};

// The connection under a session; what is not known yet is 0.
struct PathStatus {
  std::string transport = "h3";
  std::string peer;       // "192.0.2.1:4433"
  Duration rtt{};         // smoothed
  uint64_t udp_sent = 0;  // outer packets
  uint64_t udp_received = 0;
  uint64_t udp_lost = 0;  // as QUIC counts them
  uint64_t congestion_window_bytes = 0;
  std::string cipher;                          // "TLS_AES_128_GCM_SHA256"
  std::string key_exchange;                    // "X25519MLKEM768"
  std::optional<ResilienceStatus> resilience;  // nullopt: there is no path layer
};

// One CONNECT-IP session: the client's own, or one of the server's.
struct SessionStatus {
  std::string user;                   // server: who it is
  std::vector<IpPrefix> addresses;    // assigned to the client
  std::vector<IpPrefix> routes;       // advertised by the gateway to the client
  std::vector<IpPrefix> site_routes;  // advertised by the client, accepted by the gateway
  uint32_t mtu = 0;
  std::string ipv6_probe = "none";  // whether pings of 1280 bytes pass, MtuProbe::State
  Duration connected_for{};
  PathStatus path;
  ClassesStatus classes;
  TrafficCounters counters;
};

enum class ServiceRole : uint8_t { Client, Server };

struct ServiceStatus {
  ServiceRole role = ServiceRole::Client;
  ServiceState state = ServiceState::Starting;
  std::string version;
  std::string config_file;
  uint32_t pid = 0;
  Duration uptime{};
  std::string interface;                // the TUN's name
  std::string last_error;               // why it is not connected; empty when nothing is wrong
  uint64_t reconnects = 0;              // client
  std::string resilience_mode = "off";  // of the configuration

  // Client: its session, also while reconnecting (the last known values). Empty on the server.
  std::optional<SessionStatus> session;

  // Server
  std::string listen;
  std::vector<IpPrefix> addresses;  // the gateway's own inner addresses
  std::vector<IpPrefix> pools;
  std::vector<IpPrefix> routes;
  std::vector<SessionStatus> sessions;
  TrafficCounters counters;  // sum over all sessions, ended ones too
};

// One line, no newline at its end.
std::string status_to_json(const ServiceStatus& status);
// For people; several lines, ends with a newline. Takes the JSON, so that a newer daemon can be
// asked too.
std::string status_to_text(std::string_view json);
// The `state` of a status JSON; nullopt when the text is not one.
std::optional<std::string> state_of(std::string_view json);

}  // namespace masque
