// SPDX-License-Identifier: Apache-2.0
// What `masque-vpn watch` knows: the sessions of one instance with their last minute, and whether
// the instance answers. Fed with an answer, or with why there is none, once an interval.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "service/watch/watch_history.h"

namespace masque {

struct WatchSession {
  std::string user;
  WatchHistory history;
  std::optional<WatchSample> sample;  // nullopt: it is not connected
  Instant sampled_at{};
};

class Watcher {
 public:
  static constexpr size_t kSessionsMax = 64;  // of a server that were not asked for by name
  static constexpr Duration kNoticeTime = 10s;

  struct Options {
    Duration interval = 1s;
    std::vector<std::string> clients;  // empty: all
  };
  explicit Watcher(Options options);

  void on_status(Instant now, const WatchStatus& status);
  void on_gone(Instant now, std::string why);

  enum class Instance : uint8_t { Answers, Restarted, Gone };  // since the last interval
  Instance instance() const { return instance_; }
  const std::string& role() const { return role_; }
  const std::string& state() const { return state_; }  // "gone" when it does not answer
  const std::vector<WatchSession>& sessions() const { return sessions_; }
  size_t left_out() const { return left_out_; }
  // A sentence for people, while there is something to say.
  std::string notice(Instant now) const;

 private:
  WatchSession& session_of(const std::string& user);
  bool is_wanted(const std::string& user) const;

  Options options_;
  std::vector<WatchSession> sessions_;
  Instance instance_ = Instance::Answers;
  std::string role_;
  std::string state_;
  double pid_ = 0;
  std::string why_gone_;
  Instant gone_since_{};
  std::optional<Instant> restarted_at_;
  size_t left_out_ = 0;
};

}  // namespace masque
