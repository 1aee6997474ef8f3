// SPDX-License-Identifier: Apache-2.0
// Inner destination -> session: longest prefix match over leases and site subnets of both families.
//
// Each family is one flat hash table of (prefix, length) and the list of lengths that occur,
// longest first: with host leases and a few subnet lengths a lookup is one to three probes.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/ip/address.h"

namespace masque {

class Router {
 public:
  using Slot = uint32_t;  // of the session, see gateway_impl.h

  // False when exactly this prefix is routed already.
  bool add(const IpPrefix& prefix, Slot slot);
  void remove(const IpPrefix& prefix);
  std::optional<Slot> find(const IpAddress& address) const {
    return address.version() == IpVersion::V4 ? v4_.find(key_of(address))
                                              : v6_.find(key_of(address));
  }
  // Who has exactly this prefix.
  std::optional<Slot> find_exact(const IpPrefix& prefix) const;
  size_t size() const { return v4_.size() + v6_.size(); }

 private:
  struct Key {
    uint64_t high = 0;  // an IPv4 address is the top 32 bits
    uint64_t low = 0;
    friend bool operator==(const Key&, const Key&) = default;
  };
  static Key key_of(const IpAddress& address) {
    const uint8_t* bytes = address.bytes().data();
    Key key;
    key.high = uint64_t{load_be32(bytes)} << 32;
    if (address.version() == IpVersion::V4) return key;
    key.high |= load_be32(bytes + 4);
    key.low = uint64_t{load_be32(bytes + 8)} << 32 | load_be32(bytes + 12);
    return key;
  }
  static Key masked(const Key& key, uint8_t length);

  class Table {
   public:
    bool add(const Key& key, uint8_t length, Slot slot);
    bool remove(const Key& key, uint8_t length);
    std::optional<Slot> find(const Key& key) const;
    std::optional<Slot> find_exact(const Key& key, uint8_t length) const;
    size_t size() const { return size_; }

   private:
    static constexpr uint8_t kFree = 255;
    struct Entry {
      Key key;
      Slot slot = 0;
      uint8_t length = kFree;
    };
    size_t home(const Key& key, uint8_t length) const;
    size_t locate(const Key& key, uint8_t length) const;
    void grow();
    void count_length(uint8_t length, int by);

    std::vector<Entry> entries_;  // a power of two, at most half full
    size_t size_ = 0;
    std::array<uint32_t, 129> per_length_{};
    std::vector<uint8_t> lengths_;  // those that occur, longest first
  };

  Table v4_;
  Table v6_;
};

}  // namespace masque
