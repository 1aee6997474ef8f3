// SPDX-License-Identifier: Apache-2.0
// Between the cores' own values and the plain ones of status.h and config.h.
#pragma once

#include "core/http/http3_connection.h"
#include "core/tunnel/counters.h"
#include "core/tunnel/session_figures.h"
#include "service/config/config.h"
#include "service/status.h"

namespace masque {

TrafficCounters traffic_of(const TunnelCounters& counters);
ClassesStatus classes_of(const SessionFigures& figures);
// Null: no connection, an empty status. `figures`: of the session on it.
PathStatus path_of(HttpConnection* connection, const SessionFigures& figures, Instant now);
std::string program_version();
CongestionControl congestion_control_of(CongestionChoice choice);

}  // namespace masque
