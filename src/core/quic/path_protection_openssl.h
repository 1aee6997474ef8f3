// SPDX-License-Identifier: Apache-2.0
// The path layer's cryptography by OpenSSL: AES-128, AES-CMAC and AES-SIV.
#pragma once

#include <memory>

#include "core/path/path_protection.h"

namespace masque {

// `secret` has PathProtection::kSecretSize bytes. Null when OpenSSL lacks an algorithm.
std::unique_ptr<PathProtection> make_openssl_path_protection(Bytes secret);

}  // namespace masque
