// SPDX-License-Identifier: Apache-2.0
// The client's judgement of the answer to its CONNECT-IP request (RFC 9484 4.5, RFC 9297 3.4).
#pragma once

#include <cstdint>
#include <string>

#include "core/http/http_connection.h"

namespace masque {

struct ResponseVerdict {
  enum class Kind : uint8_t {
    Tunnel,     // 2xx: capsules follow
    Malformed,  // a success that is none: H3_MESSAGE_ERROR
    Refused,    // asking again soon is of no use: 3xx and most 4xx
    Later,      // a passing trouble: 5xx, 408, 425, 429
  };
  Kind kind = Kind::Malformed;
  unsigned status = 0;
  std::string reason;  // for people, with what Proxy-Status says
};

ResponseVerdict judge_response(const HeaderFields& fields);

}  // namespace masque
