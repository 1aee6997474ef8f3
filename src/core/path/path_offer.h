// SPDX-License-Identifier: Apache-2.0
// How two ends agree on the path layer: the client offers it with its CONNECT-IP request, the
// gateway takes it up in its 200. A peer that does not know the field ignores it, and everything
// stays plain RFC 9484.
//
//   path-layer: 1;codes="sliding-window reed-solomon xor"
//
// An RFC 8941 item: the version and the codes that the sender of the field can read. Keys and
// connection IDs follow from the TLS connection.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/fec/erasure_code.h"

namespace masque {

inline constexpr std::string_view kPathLayerField = "path-layer";

struct PathOffer {
  bool reads_xor = true, reads_reed_solomon = true, reads_sliding_window = true;

  bool reads(ErasureCode code) const;
  std::string to_field() const;
  // nullopt: another version, or not well-formed: as if it were absent.
  static std::optional<PathOffer> parse(std::string_view field);
  friend bool operator==(const PathOffer&, const PathOffer&) = default;
};

}  // namespace masque
