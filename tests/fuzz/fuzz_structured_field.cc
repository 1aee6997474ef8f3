// SPDX-License-Identifier: Apache-2.0
// Proxy-Status fields: what is accepted prints and parses back to itself.
#include "base/bytes.h"
#include "core/capsule/structured_field.h"

using namespace masque;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = as_text(Bytes(data, size));
  const auto members = parse_proxy_status(text);
  if (!members) return 0;
  std::string field;
  for (const ProxyStatus& member : *members) field = append_member(field, member);
  // Our own form may be longer than what came ("; " for ";").
  if (field.size() > kStructuredFieldMax) return 0;
  MASQUE_ASSERT(parse_proxy_status(field) == members);
  return 0;
}
