// SPDX-License-Identifier: Apache-2.0
#include "service/watch/watcher.h"

#include <algorithm>
#include <format>

namespace masque {

Watcher::Watcher(Options options) : options_(std::move(options)) {
  for (const auto& client : options_.clients) session_of(client);
}

WatchSession& Watcher::session_of(const std::string& user) {
  const auto found = std::ranges::find(sessions_, user, &WatchSession::user);
  if (found != sessions_.end()) return *found;
  return sessions_.emplace_back(
      WatchSession{.user = user, .history = WatchHistory(options_.interval), .sample = {}});
}

bool Watcher::is_wanted(const std::string& user) const {
  if (!options_.clients.empty()) return std::ranges::contains(options_.clients, user);
  return sessions_.size() < kSessionsMax ||
         std::ranges::contains(sessions_, user, &WatchSession::user);
}

void Watcher::on_status(Instant now, const WatchStatus& status) {
  const bool restarted = pid_ != 0 && status.pid != pid_;
  if (restarted) restarted_at_ = now;
  instance_ = restarted ? Instance::Restarted : Instance::Answers;
  pid_ = status.pid;
  role_ = status.role;
  state_ = status.state;
  left_out_ = 0;
  const auto here = [&](const WatchSession& session) {
    return std::ranges::contains(status.sessions, session.user, &WatchSample::user);
  };
  if (options_.clients.empty() && role_ == "server")
    std::erase_if(sessions_, [&](const auto& session) { return !here(session); });
  for (WatchSession& session : sessions_) {
    if (here(session)) continue;
    session.sample.reset();
    session.history.push(std::nullopt);
  }
  for (const WatchSample& sample : status.sessions) {
    if (!is_wanted(sample.user)) {
      ++left_out_;
      continue;
    }
    WatchSession& session = session_of(sample.user);
    session.history.push(session.sample && !restarted
                             ? watch_point(*session.sample, sample, now - session.sampled_at)
                             : std::nullopt);
    session.sample = sample;
    session.sampled_at = now;
  }
  if (!options_.clients.empty()) left_out_ = 0;
}

void Watcher::on_gone(Instant now, std::string why) {
  if (instance_ != Instance::Gone) gone_since_ = now;
  instance_ = Instance::Gone;
  state_ = "gone";
  why_gone_ = std::move(why);
  for (WatchSession& session : sessions_) {
    session.sample.reset();
    session.history.push(std::nullopt);
  }
}

std::string Watcher::notice(Instant now) const {
  if (instance_ == Instance::Gone) {
    return std::format("{}; waiting for it for {} s", why_gone_, (now - gone_since_) / 1s);
  }
  if (restarted_at_ && now - *restarted_at_ < kNoticeTime) return "the service was restarted";
  return {};
}

}  // namespace masque
