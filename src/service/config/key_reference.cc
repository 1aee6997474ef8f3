// SPDX-License-Identifier: Apache-2.0
#include "service/config/key_reference.h"

namespace masque {

namespace {

constexpr KeyReference kServer[] = {
    {"listen_addr", "",
     "UDP address and port; \":4433\" is every address of IPv6 and IPv4. Required"},
    {"server_name", "", "Name that clients verify the server by. Required"},
    {"cert_file", "", "The server's certificate chain, PEM. Required"},
    {"cert_pem", "", "The same as text in the file"},
    {"key_file", "", "Key of the certificate. Required"},
    {"key_pem", "", "The same as text in the file"},
    {"ca_cert_file", "",
     "CA that clients' certificates are verified with. Required unless auth.mode is \"token\""},
    {"ca_cert_pem", "", "The same as text in the file"},
    {"ca_key_file", "", "Key of the CA; only \"user add\" reads it"},
    {"ca_key_pem", "", "The same as text in the file"},
    {"assign_cidr", "",
     "Pools that clients get addresses of; the gateway takes the first of each. Required"},
    {"advertise_routes", "the pools",
     "Networks that clients reach through the gateway, none inside another but for a default "
     "route"},
    {"nat.enabled", "false", "Masquerade packets of clients, in an nftables table of its own"},
    {"nat.interfaces", "all but the tunnel", "Interfaces where packets are masqueraded"},
    {"network.ip_forwarding", "false", "Switch IP forwarding on while running"},
    {"auth.mode", "\"certificate\"", "What clients prove their identity by"},
    {"auth.unknown_users", "\"admit\"", "Certificates of the CA whose name is not in the database"},
    {"quic.retry", "\"auto\"", "Address validation by Retry; \"auto\": only under a flood"},
    {"limits.max_clients", "10000", "Sessions admitted at a time"},
    {"limits.max_half_open", "1000", "Handshakes under way at a time"},
    {"leases.sticky", "true",
     "A user has the same addresses in every session; false: other ones each time, not remembered"},
    {"state.database", "\"state.db\"",
     "SQLite file with users and leases; server.keys lies beside it"},
    {"api_server.listen_addr", "", "No effect in this version (warning)"},
    {"api_server.static_dir", "", "No effect in this version (warning)"},
    {"api_server.database_path", "",
     "Older name of state.database; another program's database is left alone (warning)"},
};

constexpr KeyReference kClient[] = {
    {"server_addr", "", "Host and port of the gateway, port 443 if it has none. Required"},
    {"server_name", "the host of server_addr", "Name that the server's certificate must have"},
    {"ca_file", "the system's CAs", "CA that the server is verified with, PEM"},
    {"ca_pem", "", "The same as text in the file"},
    {"tls_cert", "", "The client's certificate, PEM"},
    {"cert_pem", "", "The same as text in the file"},
    {"tls_key", "", "The client's key, PEM"},
    {"key_pem", "", "The same as text in the file"},
    {"insecure_skip_verify", "false", "Do not verify the server (warning)"},
    {"tun_ip", "", "No effect (warning): the server assigns addresses"},
    {"key_log_file", "", "TLS keys for a packet analyser (warning)"},
    {"routes.accept", "\"gateway\"",
     "\"gateway\": what is advertised but default routes; \"all\"; or networks: only what lies "
     "inside them"},
    {"routes.accept_default", "false", "Full tunnel: accept default routes too"},
    {"routes.exclude", "", "Networks that never go into the tunnel"},
    {"auth.token", "", "Bearer token"},
    {"auth.token_file", "", "File with the bearer token"},
    {"site.advertise_routes", "",
     "Networks behind this client (site-to-site); the gateway must allow them"},
    {"http.uri_template", "the well-known one", "URI template of the proxy, RFC 9484 section 3"},
    {"network.fwmark", "chosen when needed",
     "Mark of the tunnel's own packets, and number of the routing table for routes that cover the "
     "gateway"},
};

constexpr KeyReference kCommon[] = {
    {"tun_name", "chosen by the kernel", "Name of the interface"},
    {"mtu", "0", "Upper limit of the tunnel's MTU, 1280 or more; 0: it follows the path"},
    {"log_level", "\"info\"", "What is logged"},
    {"log.format", "\"text\"", "Form of the log's lines"},
    {"network.ipv6_probe", "\"measure\"",
     "Whether the tunnel carries IPv6 packets of 1280 bytes (RFC 9484 7.2): ping where needed, "
     "always, or trust QUIC"},
    {"quic.congestion", "\"cubic\"", "Congestion control"},
    {"quic.keep_alive", "\"20s\"",
     "A packet after so long a silence, 0: none; clients only. At most a third of idle_timeout "
     "unless set"},
    {"quic.idle_timeout", "\"60s\"", "A connection that is silent for so long is given up"},
    {"resilience.mode", "\"off\"",
     "The path layer against loss, jitter and reordering (experimental), on both ends: for all, "
     "for calls, for bulk"},
    {"resilience.max_added_delay_ms", "400 for bulk, of which 120 for repairs, 100 for real time",
     "The most that may be added to a packet's way"},
    {"resilience.code", "\"sliding-window\"", "Erasure code"},
    {"resilience.window", "255", "The most packets under one repair packet"},
    {"resilience.queue_target_ms", "15",
     "Standing queue at the bottleneck that the shaper aims at"},
    {"resilience.shaper", "true", "Keep the bottleneck's queue short by pacing"},
    {"resilience.recovered_as", "\"intact\"",
     "\"marked\": recovered packets look congestion-marked to QUIC"},
    {"resilience.realtime_dscp", "EF, VA, CS5, CS4, AF41, AF42, AF43",
     "Code points that are real time, by name or number in quotes"},
    {"resilience.realtime_ports", "", "UDP ports or ranges that are real time (\"16384-32767\")"},
    {"resilience.realtime_rate_max_kbit", "1000",
     "A flow that is not marked is real time up to this rate"},
    {"resilience.marked_rate_max_kbit", "20000",
     "A flow that is marked or on a real-time port is bulk above this rate"},
    {"control.socket", "in /run/masque-vpn", "Path of the control socket"},
};

}  // namespace

std::span<const KeyReference> server_key_reference() { return kServer; }
std::span<const KeyReference> client_key_reference() { return kClient; }
std::span<const KeyReference> common_key_reference() { return kCommon; }

}  // namespace masque
