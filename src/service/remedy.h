// SPDX-License-Identifier: Apache-2.0
// What mends a failure that the core or the host told of, in the words of the configuration: they
// say what happened, and know no keys.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/client/tunnel_client.h"
#include "core/quic/quic_connection.h"
#include "core/server/admission.h"
#include "service/config/config.h"

namespace masque {

// Of an attempt of the client; `closed`: why its connection ended. Empty where there is nothing
// better than to wait.
std::string remedy_of(const ClientStateChanged& change, const std::optional<CloseReason>& closed,
                      const ClientConfig& config);
// Of what a gateway has too little of; for its own log.
std::string_view remedy_of(Shortage shortage);

// "what; how to mend it"
std::string with_remedy(std::string what, std::string_view remedy);

}  // namespace masque
