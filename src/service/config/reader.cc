// SPDX-License-Identifier: Apache-2.0
#include "service/config/reader.h"

#include <algorithm>
#include <charconv>
#include <format>
#include <numeric>

namespace masque {

namespace {

std::string leaf_of(std::string_view key) {
  const size_t dot = key.rfind('.');
  return std::string(dot == std::string_view::npos ? key : key.substr(dot + 1));
}

std::string table_of(std::string_view key) {
  const size_t dot = key.rfind('.');
  return dot == std::string_view::npos ? std::string() : std::string(key.substr(0, dot));
}

const ConfigMember* member(const ConfigTable& table, std::string_view key) {
  const auto found = std::ranges::find(table, key, &ConfigMember::key);
  return found == table.end() ? nullptr : &*found;
}

// Levenshtein's distance.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row.back();
}

std::string joined(std::span<const std::string_view> names) {
  std::string out;
  for (const auto name : names) out += std::format("{}\"{}\"", out.empty() ? "" : ", ", name);
  return out;
}

// A text of the file inside a message: short and printable.
std::string shown_text(std::string_view text) {
  constexpr size_t kShownBytesMax = 60;
  std::string out = "\"";
  for (const char c : text.substr(0, kShownBytesMax)) {
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  return out + (text.size() > kShownBytesMax ? "...\"" : "\"");
}

}  // namespace

std::optional<std::string> nearest(std::string_view word,
                                   const std::vector<std::string>& candidates) {
  constexpr size_t kWordBytesMax = 64;  // nobody means a key with a word this long
  if (word.size() > kWordBytesMax) return std::nullopt;
  std::optional<std::string> best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const auto& candidate : candidates) {
    const size_t d = distance(word, candidate);
    if (d < best_distance && d < std::max(word.size(), candidate.size())) {
      best_distance = d;
      best = candidate;
    }
  }
  return best;
}

std::optional<Duration> parse_duration(std::string_view text) {
  int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || count < 0 || count > 1'000'000'000) return std::nullopt;
  const std::string_view unit(end, text.data() + text.size());
  if (unit == "ms") return std::chrono::milliseconds(count);
  if (unit == "s" || (unit.empty() && count == 0)) return std::chrono::seconds(count);
  if (unit == "m" || unit == "min") return std::chrono::minutes(count);
  if (unit == "h") return std::chrono::hours(std::min<int64_t>(count, 1'000'000));
  return std::nullopt;
}

const ConfigNode* ConfigReader::find(std::string_view key) {
  known_.try_emplace(std::string(key));
  return node(key);
}

std::set<std::string, std::less<>> ConfigReader::known_keys() const {
  std::set<std::string, std::less<>> out;
  for (const auto& [key, form] : known_) out.insert(key);
  return out;
}

std::string_view ConfigReader::form_of(std::string_view key) const {
  const auto found = known_.find(key);
  return found == known_.end() ? std::string_view() : std::string_view(found->second);
}

void ConfigReader::set_form(std::string_view key, std::string form) {
  known_.insert_or_assign(std::string(key), std::move(form));
}

const ConfigNode* ConfigReader::node(std::string_view key) const {
  const std::string table = table_of(key);
  if (table.empty()) {
    const auto* found = member(root_, key);
    return found == nullptr ? nullptr : &found->node;
  }
  const auto* outer = member(root_, table);
  if (outer == nullptr) return nullptr;
  const auto* inner = std::get_if<ConfigTable>(&outer->node.value);
  if (inner == nullptr) return nullptr;  // told by finish()
  const auto* found = member(*inner, leaf_of(key));
  return found == nullptr ? nullptr : &found->node;
}

void ConfigReader::note_contents(std::string_view key, std::string digest) {
  contents_.insert_or_assign(std::string(key), std::move(digest));
}

ConfigValues ConfigReader::values() const {
  ConfigValues out;
  for (const auto& [key, form] : known_) {
    const ConfigNode* found = node(key);
    std::string text = found == nullptr ? std::string() : value_text(*found);
    if (const auto file = contents_.find(key); file != contents_.end()) text += " " + file->second;
    if (!text.empty()) out.emplace(key, std::move(text));
  }
  return out;
}

ConfigPlaces ConfigReader::places() const {
  ConfigPlaces out;
  for (const auto& [key, form] : known_) {
    if (const ConfigNode* found = node(key)) out.emplace(key, found->place);
  }
  return out;
}

std::optional<Place> ConfigReader::place(std::string_view key) {
  const auto* node = find(key);
  return node == nullptr ? std::nullopt : std::optional(node->place);
}

std::optional<LocatedText> ConfigReader::text(std::string_view key) {
  const auto* node = find(key);
  if (form_of(key).empty()) set_form(key, "a string");
  if (node == nullptr) return std::nullopt;
  const auto* value = std::get_if<std::string>(&node->value);
  if (value == nullptr) {
    wrong_type(*node, key, "a string in quotes");
    return std::nullopt;
  }
  if (value->contains('\0')) {
    error(node->place, key, "must not contain a NUL character");
    return std::nullopt;
  }
  if (value->empty()) return std::nullopt;
  return LocatedText{.value = *value, .place = node->place, .key = std::string(key)};
}

std::optional<Located<int64_t>> ConfigReader::integer(std::string_view key, int64_t min,
                                                      int64_t max) {
  const auto* node = find(key);
  set_form(key, std::format("a whole number, {} to {}", min, max));
  if (node == nullptr) return std::nullopt;
  const auto* value = std::get_if<int64_t>(&node->value);
  if (value == nullptr) {
    wrong_type(*node, key, "a whole number without quotes");
    return std::nullopt;
  }
  if (*value < min || *value > max) {
    error(node->place, key,
          std::format("{} is out of range: it must be {} to {}", *value, min, max));
    return std::nullopt;
  }
  return Located<int64_t>{.value = *value, .place = node->place, .key = std::string(key)};
}

std::optional<Located<bool>> ConfigReader::boolean(std::string_view key) {
  const auto* node = find(key);
  set_form(key, "true or false");
  if (node == nullptr) return std::nullopt;
  const auto* value = std::get_if<bool>(&node->value);
  if (value == nullptr) {
    wrong_type(*node, key, "true or false without quotes");
    return std::nullopt;
  }
  return Located<bool>{.value = *value, .place = node->place, .key = std::string(key)};
}

std::optional<std::vector<LocatedText>> ConfigReader::texts(std::string_view key) {
  const auto* node = find(key);
  if (form_of(key).empty()) set_form(key, "a string or a list of strings");
  if (node == nullptr) return std::nullopt;
  std::vector<LocatedText> out;
  const auto take = [&](const ConfigNode& item) {
    const auto* value = std::get_if<std::string>(&item.value);
    if (value == nullptr) {
      wrong_type(item, key, "a string in quotes");
    } else if (value->empty()) {
      error(item.place, key, "must not be an empty string");
    } else {
      out.push_back({.value = *value, .place = item.place, .key = std::string(key)});
    }
  };
  if (const auto* list = std::get_if<ConfigArray>(&node->value)) {
    for (const auto& item : *list) take(item);
  } else if (const auto* one = std::get_if<std::string>(&node->value);
             one != nullptr && one->empty()) {
    return std::nullopt;
  } else if (one != nullptr) {
    take(*node);
  } else {
    wrong_type(*node, key, "a string or a list of strings");
  }
  return out;
}

std::optional<Duration> ConfigReader::duration(std::string_view key, Duration min, Duration max,
                                               Zero zero) {
  const auto* node = find(key);
  set_form(key, "a time such as \"500ms\", \"20s\", \"2m\", or whole seconds");
  if (node == nullptr) return std::nullopt;
  std::optional<Duration> value;
  if (const auto* seconds = std::get_if<int64_t>(&node->value)) {
    if (*seconds >= 0 && *seconds <= 1'000'000'000) value = std::chrono::seconds(*seconds);
  } else if (const auto* written = std::get_if<std::string>(&node->value)) {
    value = parse_duration(*written);
  } else {
    wrong_type(*node, key, "a time such as \"20s\"");
    return std::nullopt;
  }
  if (!value) {
    error(node->place, key, "is not a time: write for example \"500ms\", \"20s\" or \"2m\"");
    return std::nullopt;
  }
  if (zero == Zero::Allowed && *value == Duration::zero()) return value;
  if (*value < min || *value > max) {
    error(node->place, key,
          std::format("must be {} to {}{}",
                      std::chrono::duration_cast<std::chrono::milliseconds>(min),
                      std::chrono::duration_cast<std::chrono::seconds>(max),
                      zero == Zero::Allowed ? ", or 0 to turn it off" : ""));
    return std::nullopt;
  }
  return value;
}

std::optional<IpPrefix> ConfigReader::prefix(const LocatedText& text) {
  const auto parsed = IpPrefix::parse(text.value);
  if (parsed) return *parsed;
  const std::string shown = shown_text(text.value);
  const size_t slash = text.value.find('/');
  const auto address = IpAddress::parse(std::string_view(text.value).substr(0, slash));
  if (!address) {
    error(text, std::format("{} is not a network: write it as 10.8.0.0/24 or fd00:8::/64", shown));
    return std::nullopt;
  }
  const uint32_t bits = address_bits(address->version());
  uint32_t length = bits + 1;
  if (slash != std::string::npos) {
    const char* first = text.value.data() + slash + 1;
    const char* last = text.value.data() + text.value.size();
    const auto [end, fault] = std::from_chars(first, last, length);
    if (fault != std::errc() || end != last) length = bits + 1;
  }
  if (length > bits) {
    error(text, std::format("{}: the length after the slash must be 0 to {}", shown, bits));
    return std::nullopt;
  }
  const auto meant = IpPrefix::containing(*address, static_cast<uint8_t>(length));
  error(text, std::format("{} has bits set after its length: did you mean \"{}\"?", shown,
                          meant.to_string()));
  return std::nullopt;
}

std::optional<std::vector<LocatedPrefix>> ConfigReader::prefixes(std::string_view key,
                                                                 size_t count_max) {
  auto list = texts(key);
  set_form(key, "a network or a list of networks");
  if (!list) return std::nullopt;
  if (list->size() > count_max) {
    error((*list)[count_max],
          std::format("{} networks are too many: at most {} fit", list->size(), count_max));
    list->resize(count_max);
  }
  std::vector<LocatedPrefix> out;
  for (const auto& item : *list) {
    if (const auto parsed = prefix(item)) {
      out.push_back({.value = *parsed, .place = item.place, .key = item.key});
    }
  }
  return out;
}

std::optional<size_t> ConfigReader::choice_index(std::string_view key,
                                                 std::span<const std::string_view> names) {
  const auto value = text(key);
  set_form(key, joined(names));
  if (!value) return std::nullopt;
  const auto found = std::ranges::find(names, std::string_view(value->value));
  if (found != names.end()) return static_cast<size_t>(found - names.begin());
  error(*value, std::format("{} is not one of {}", shown_text(value->value), joined(names)));
  return std::nullopt;
}

void ConfigReader::error(Place place, std::string_view key, std::string text) {
  errors.push_back({.file = path_,
                    .line = place.line,
                    .column = place.column,
                    .key = std::string(key),
                    .text = std::move(text)});
}

void ConfigReader::warn(Place place, std::string_view key, std::string text) {
  warnings.push_back({.file = path_,
                      .line = place.line,
                      .column = place.column,
                      .key = std::string(key),
                      .text = std::move(text)});
}

void ConfigReader::missing(std::string_view key, std::string hint) {
  error(place(key).value_or(Place{.line = 1, .column = 1}), key, "is missing: " + std::move(hint));
}

std::optional<LocatedText> ConfigReader::required_text(std::string_view key, std::string hint) {
  const size_t faults = errors.size();
  auto value = text(key);
  if (!value && errors.size() == faults) missing(key, std::move(hint));
  return value;
}

void ConfigReader::wrong_type(const ConfigNode& node, std::string_view key,
                              std::string_view wanted) {
  error(node.place, key, std::format("must be {}, not {}", wanted, node.type_name()));
}

void ConfigReader::set_foreign_keys(std::set<std::string, std::less<>> keys, std::string hint) {
  foreign_ = std::move(keys);
  foreign_hint_ = std::move(hint);
}

// The likeliest meaning first: the same word in another table, then in the other kind of file, then
// a slip of the finger in this table.
std::string ConfigReader::hint_for(const std::string& key) const {
  const std::string leaf = leaf_of(key);
  for (const auto& [known, form] : known_) {
    if (leaf_of(known) != leaf) continue;
    const std::string table = table_of(known);
    if (table.empty())
      return std::format("it belongs above the first [table], not into [{}]", table_of(key));
    return std::format("it belongs into the table [{}]", table);
  }
  if (foreign_.contains(key)) return foreign_hint_;
  std::vector<std::string> candidates;
  for (const auto& [known, form] : known_) {
    if (table_of(known) == table_of(key)) candidates.push_back(leaf_of(known));
  }
  if (const auto near = nearest(leaf, candidates))
    return std::format("did you mean \"{}\"?", *near);
  return "see `masque-vpn man config` for the keys there are";
}

void ConfigReader::report_unknown(const ConfigTable& table, const std::string& prefix) {
  std::set<std::string, std::less<>> tables;
  for (const auto& [known, form] : known_) tables.insert(table_of(known));
  for (const auto& [key, place, node] : table) {
    const std::string path = prefix + key;
    const auto* inner = std::get_if<ConfigTable>(&node.value);
    if (known_.contains(path)) continue;
    if (prefix.empty() && tables.contains(path)) {
      if (inner != nullptr) {
        report_unknown(*inner, path + ".");
      } else {
        error(node.place, path,
              std::format("must be a table: write [{}] on a line of its own", path));
      }
      continue;
    }
    if (inner != nullptr) {
      const auto near = nearest(key, {tables.begin(), tables.end()});
      error(place, path,
            "unknown table" +
                (near && !near->empty() ? std::format(": did you mean [{}]?", *near) : ""));
    } else {
      error(place, path, "unknown key: " + hint_for(path));
    }
  }
}

void ConfigReader::finish() {
  report_unknown(root_, "");
  const auto by_place = [](const ConfigError& a, const ConfigError& b) {
    return std::pair(a.line, a.column) < std::pair(b.line, b.column);
  };
  std::ranges::stable_sort(errors, by_place);
  std::ranges::stable_sort(warnings, by_place);
}

}  // namespace masque
