// SPDX-License-Identifier: Apache-2.0
// [resilience]: the path layer, the classes of traffic and the timed release, the same for both
// kinds of configuration.
#pragma once

#include <string_view>

#include "core/path/path_settings.h"
#include "core/tunnel/release_queue.h"
#include "core/tunnel/traffic_classifier.h"

namespace masque {

class ConfigReader;

struct ResilienceConfig {
  PathSettings path;
  ClassifierOptions classifier;
  ReleaseOptions release;
};

// As it is written in the configuration.
std::string_view to_string(ResilienceMode mode);
ResilienceConfig read_resilience(ConfigReader& reader);

}  // namespace masque
