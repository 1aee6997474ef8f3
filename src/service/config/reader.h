// SPDX-License-Identifier: Apache-2.0
// Reads values out of a TOML document by dotted key ("auth.token"), collecting every fault with its
// place instead of stopping at the first. A reader asks for each key it knows, whether it is there
// or not, and by how it asks says what the key takes; finish() then reports what was never asked
// for, with the nearest known key as a hint. An empty string counts as not set, as in the
// configuration files masque-vpn's users have.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "core/ip/address.h"
#include "service/config/document.h"
#include "service/config/values.h"

namespace masque {

template <class T>
struct Located {
  T value;
  Place place;
  std::string key;
};
using LocatedText = Located<std::string>;
using LocatedPrefix = Located<IpPrefix>;

template <class E>
struct NamedChoice {
  std::string_view name;
  E value;
};

class ConfigReader {
 public:
  ConfigReader(std::string path, const ConfigTable& root) : path_(std::move(path)), root_(root) {}

  bool has(std::string_view key) { return place(key).has_value(); }  // even if empty
  std::optional<Place> place(std::string_view key);                  // of the key's value
  std::optional<LocatedText> text(std::string_view key);
  std::optional<Located<int64_t>> integer(std::string_view key, int64_t min, int64_t max);
  std::optional<Located<bool>> boolean(std::string_view key);
  // A string, or a list of strings; empty strings in a list are faults.
  std::optional<std::vector<LocatedText>> texts(std::string_view key);
  // "20s", "500ms", "2m", or whole seconds; `min`..`max`, and 0 when `zero` says that it means
  // something.
  enum class Zero : uint8_t { Allowed, Refused };
  std::optional<Duration> duration(std::string_view key, Duration min, Duration max, Zero zero);
  // More than `count_max` are a fault, told at the first one too many; those are left out.
  std::optional<std::vector<LocatedPrefix>> prefixes(std::string_view key,
                                                     size_t count_max = SIZE_MAX);
  template <class E>
  std::optional<E> choice(std::string_view key, std::span<const NamedChoice<E>> choices) {
    std::vector<std::string_view> names;
    for (const auto& c : choices) names.push_back(c.name);
    const auto index = choice_index(key, names);
    return index ? std::optional(choices[*index].value) : std::nullopt;
  }
  // nullopt and a fault when it is not a prefix.
  std::optional<IpPrefix> prefix(const LocatedText& text);

  void error(Place place, std::string_view key, std::string text);
  void warn(Place place, std::string_view key, std::string text);
  template <class T>
  void error(const Located<T>& at, std::string text) {
    error(at.place, at.key, std::move(text));
  }
  template <class T>
  void warn(const Located<T>& at, std::string text) {
    warn(at.place, at.key, std::move(text));
  }
  // A key that must be there and is not (line 1) or is empty.
  void missing(std::string_view key, std::string hint);
  std::optional<LocatedText> required_text(std::string_view key, std::string hint);

  // Keys of the other kind of configuration file, for the hint.
  void set_foreign_keys(std::set<std::string, std::less<>> keys, std::string hint);
  void finish();  // unknown keys; then sorts the faults by place

  // The file that a key names holds this: other contents are another value.
  void note_contents(std::string_view key, std::string digest);
  ConfigValues values() const;  // of the keys that were asked for
  ConfigPlaces places() const;

  const std::string& path() const { return path_; }
  std::set<std::string, std::less<>> known_keys() const;
  // What a known key takes, in words: "a whole number, 1 to 9", "\"auto\", \"off\"".
  std::string_view form_of(std::string_view key) const;
  // For a key whose text is of a special kind, after it was asked for.
  void set_form(std::string_view key, std::string form);
  std::vector<ConfigError> errors;
  std::vector<ConfigError> warnings;

 private:
  const ConfigNode* find(std::string_view key);  // and remembers that it is known
  const ConfigNode* node(std::string_view key) const;
  void wrong_type(const ConfigNode& node, std::string_view key, std::string_view wanted);
  std::optional<size_t> choice_index(std::string_view key, std::span<const std::string_view> names);
  void report_unknown(const ConfigTable& table, const std::string& prefix);
  std::string hint_for(const std::string& key) const;

  std::string path_;
  const ConfigTable& root_;
  std::map<std::string, std::string, std::less<>> known_;  // key -> form
  ConfigValues contents_;
  std::set<std::string, std::less<>> foreign_;
  std::string foreign_hint_;
};

// The candidate nearest to `word`, if it is near enough to be meant.
std::optional<std::string> nearest(std::string_view word,
                                   const std::vector<std::string>& candidates);
// A duration as people write it; nullopt when it is not one.
std::optional<Duration> parse_duration(std::string_view text);

}  // namespace masque
