// SPDX-License-Identifier: Apache-2.0
// What the path layer does to traffic on a link profile, in the simulator: the same flows over many
// seeds, each a walk of the delay and losses of its own. So a change of the layer is judged by how
// often it fails, not by one run (docs/roadmap.md says what is looked for).
//
//   pathsim --profile mobile --down 30 --voice --seeds 101-140
//
// The flow down is datagrams of 1200 bytes at that rate. Figures are of the seconds from --from on.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/quic/quic_connection.h"
#include "sim/lab.h"
#include "sim/link_profiles.h"

namespace masque {
namespace {

using Json = nlohmann::json;

struct Options {
  std::string profile = "mobile";
  std::string seeds = "1-20";
  std::string mode = "auto";
  std::string order;
  double down_megabit = 0;
  double small_up_per_second = 0;
  double up_megabit = 0;
  int idle = 0;                 // seconds before the flows
  double rate_megabit = 0;      // of the link instead of the profile's
  int queue_ms = 0;             // the same
  double new_rate_megabit = 0;  // of the link down, from new_rate_from on
  int new_rate_from = 10;
  int seconds = 20;
  int from = 5;
  bool voice = false;
  bool shaper = true;
  bool bbr = false;
  bool each_second = false;
  bool json = false;
};

struct Seeds {
  uint64_t first = 1;
  uint64_t last = 1;
};

double milliseconds(Duration d) { return static_cast<double>(d.count()) / 1e6; }

template <class Value>
Value percentile(std::vector<Value> values, double share) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
}

// One run of one seed.
class Run {
 public:
  Run(const Options& options, uint64_t seed) : options_(options), lab_(seed, nullptr) {}

  Json measure();

 private:
  LinkOptions link_of(const LinkPlan& plan) const;
  bool connect();
  void start_flows();
  void change_rate();
  void sample();
  void tell_second(int second);
  PathFigures gateway_figures();
  QuicStats gateway_stats();
  QuicConnection* gateway_quic();

  const Options& options_;
  Lab lab_;
  SimClient* client_ = nullptr;
  Flow* bulk_ = nullptr;
  Flow* small_ = nullptr;
  Flow* up_ = nullptr;
  Flow* voice_up_ = nullptr;
  Flow* voice_down_ = nullptr;
  std::vector<double> queue_ms_;  // of the bottleneck down
  // Since the rate changed: when the queue began to stay short for half a second.
  std::optional<Instant> changed_at_;
  Instant short_since_{};
  std::optional<Duration> settled_;
  uint64_t told_realtime_ = 0, told_arrived_ = 0, told_sent_ = 0, told_dropped_ = 0;
  size_t told_queue_ = 0, told_delays_ = 0;
};

LinkOptions Run::link_of(const LinkPlan& plan) const {
  LinkOptions link = plan.options;
  if (options_.order == "kept") link.order = LinkOptions::Order::Kept;
  if (options_.order == "free") link.order = LinkOptions::Order::Free;
  if (options_.rate_megabit > 0) {
    link.rate_bits_per_second = static_cast<uint64_t>(options_.rate_megabit * 1e6);
  }
  if (options_.queue_ms > 0) link.queue_time_max = options_.queue_ms * 1ms;
  return link;
}

bool Run::connect() {
  const LinkProfile& profile = *find_link_profile(options_.profile);
  ServerSetup server;
  ClientSetup client;
  const ResilienceMode mode = options_.mode == "off"     ? ResilienceMode::Off
                              : options_.mode == "calls" ? ResilienceMode::Calls
                              : options_.mode == "bulk"  ? ResilienceMode::Bulk
                                                         : ResilienceMode::Auto;
  for (PathSettings* settings : {&server.gateway.resilience, &client.tunnel.resilience}) {
    settings->mode = mode;
    settings->shaper = options_.shaper ? PathSettings::Shaper::On : PathSettings::Shaper::Off;
  }
  if (options_.bbr) {
    server.quic.congestion_control = client.quic.congestion_control = CongestionControl::Bbr;
  }
  client.up = link_of(profile.up);
  client.down = link_of(profile.down);
  lab_.add_server(std::move(server));
  client_ = &lab_.add_client("anna", std::move(client));
  return lab_.connect(*client_, 30s);
}

void Run::start_flows() {
  constexpr size_t kLarge = 1200;
  const auto large = [](double megabit) {
    return FlowOptions{.interval = Duration(static_cast<int64_t>(kLarge * 8 / megabit * 1000)),
                       .packet_size = kLarge};
  };
  if (options_.down_megabit > 0) {
    bulk_ = &lab_.stream(lab_.internet(), client_->inner(), large(options_.down_megabit));
  }
  if (options_.up_megabit > 0) {
    up_ = &lab_.stream(client_->inner(), lab_.internet(), large(options_.up_megabit));
  }
  if (options_.small_up_per_second > 0) {
    const auto interval = Duration(static_cast<int64_t>(1e9 / options_.small_up_per_second));
    small_ = &lab_.stream(client_->inner(), lab_.internet(),
                          {.interval = interval, .packet_size = 60, .port = 5001});
  }
  if (options_.voice) {
    const FlowOptions call{.interval = 20ms, .packet_size = 200, .port = 5004};
    voice_up_ = &lab_.stream(client_->inner(), lab_.internet(), call);
    voice_down_ = &lab_.stream(lab_.internet(), client_->inner(), call);
  }
}

void Run::change_rate() {
  LinkOptions down = lab_.network.down(client_->id()).options();
  down.rate_bits_per_second = static_cast<uint64_t>(options_.new_rate_megabit * 1e6);
  changed_at_ = lab_.world.now();
  lab_.network.set_links(client_->id(), lab_.network.up(client_->id()).options(), down);
}

void Run::sample() {
  const Link& link = lab_.network.down(client_->id());
  const double rate = static_cast<double>(link.options().rate_bits_per_second);
  if (rate == 0) return;
  const Instant now = lab_.world.now();
  queue_ms_.push_back(static_cast<double>(link.queued_bytes(now)) * 8e3 / rate);
  constexpr double kShortMs = 50;
  if (!changed_at_ || queue_ms_.back() > kShortMs) short_since_ = now;
  if (!settled_ && now - short_since_ >= 500ms) settled_ = short_since_ - *changed_at_;
}

QuicConnection* Run::gateway_quic() {
  for (const SessionSnapshot& session : lab_.server().gateway()->sessions()) {
    if (auto* http = dynamic_cast<Http3Connection*>(session.connection)) return &http->quic();
  }
  return nullptr;
}

PathFigures Run::gateway_figures() {
  QuicConnection* quic = gateway_quic();
  if (quic == nullptr) return {};
  return quic->path_figures(lab_.world.now()).value_or(PathFigures{});
}

QuicStats Run::gateway_stats() {
  QuicConnection* quic = gateway_quic();
  return quic == nullptr ? QuicStats{} : quic->stats();
}

void Run::tell_second(int second) {
  const QuicStats stats = gateway_stats();
  const PathFigures figures = gateway_figures();
  const Link::Counters& link = lab_.network.down(client_->id()).counters();
  const std::vector<double> queue(queue_ms_.begin() + static_cast<ptrdiff_t>(told_queue_),
                                  queue_ms_.end());
  told_queue_ = queue_ms_.size();
  std::fprintf(stderr, "%3d s:", second);
  if (bulk_ != nullptr) {
    const FlowFigures& now = bulk_->figures();
    if (now.sent < told_sent_) told_sent_ = told_arrived_ = 0;
    std::fprintf(stderr, " arrived %5.1f Mbit/s",
                 static_cast<double>(now.arrived - told_arrived_) * 1200 * 8e-6);
    told_sent_ = now.sent;
    told_arrived_ = now.arrived;
  }
  std::fprintf(
      stderr,
      " window %7lu in flight %7lu lost %5lu rtt %3.0f | queue p50 %3.0f max %3.0f dropped %4lu |",
      stats.congestion_window, stats.bytes_in_flight, stats.packets_lost,
      milliseconds(stats.smoothed_rtt), percentile(queue, 0.5), percentile(queue, 1),
      link.queue_dropped - told_dropped_);
  told_dropped_ = link.queue_dropped;
  std::fprintf(stderr, " rate %5.1f seen queue %3.0f", figures.rate.value_or(0) * 8e-6,
               milliseconds(figures.queue));
  if (voice_down_ != nullptr) {
    const auto& delays = voice_down_->figures().delays;
    if (delays.size() < told_delays_) told_delays_ = 0;
    const std::vector<Duration> recent(delays.begin() + static_cast<ptrdiff_t>(told_delays_),
                                       delays.end());
    told_delays_ = delays.size();
    const uint64_t first =
        figures.classes[static_cast<size_t>(TrafficClass::RealTime)].sources_sent;
    std::fprintf(stderr, " | call %2zu of 50 (%2lu as real time), delay max %3.0f", recent.size(),
                 first - told_realtime_, milliseconds(percentile(recent, 1)));
    told_realtime_ = first;
  }
  std::fputc('\n', stderr);
}

Json of_flow(const Flow& flow) {
  const FlowFigures& figures = flow.figures();
  return {{"loss_percent", figures.loss() * 100},
          {"delay_p50_ms", milliseconds(figures.delay_percentile(0.5))},
          {"delay_p99_ms", milliseconds(figures.delay_percentile(0.99))},
          {"delay_max_ms", milliseconds(figures.delay_max)}};
}

Json Run::measure() {
  Json out{{"seed", lab_.seed()}};
  if (!connect()) return out;
  // An idle tunnel: a ping each way now and then.
  const FlowOptions ping{.interval = 50ms, .packet_size = 84, .port = 5007};
  for (Flow* flow : {&lab_.stream(client_->inner(), lab_.internet(), ping),
                     &lab_.stream(lab_.internet(), client_->inner(), ping)}) {
    lab_.run(options_.idle * 500ms);
    flow->stop();
  }
  start_flows();
  uint64_t overhead_from = 0;
  for (int second = 0; second < options_.seconds; ++second) {
    if (second == options_.from) {
      for (Flow* flow : {bulk_, small_, up_, voice_up_, voice_down_}) {
        if (flow != nullptr) flow->restart_figures();
      }
      queue_ms_.clear();
      told_queue_ = 0;
      overhead_from = lab_.network.down(client_->id()).counters().bytes;
    }
    if (second == options_.new_rate_from && options_.new_rate_megabit > 0) change_rate();
    for (int tick = 0; tick < 200; ++tick) {
      lab_.run(5ms);
      sample();
    }
    if (options_.each_second) tell_second(second);
  }
  if (options_.each_second) std::fprintf(stderr, "%s", lab_.describe(*client_).c_str());
  for (Flow* flow : {bulk_, small_, up_, voice_up_, voice_down_}) {
    if (flow != nullptr) flow->stop();
  }
  const int judged = options_.seconds - options_.from;
  out["link_megabit"] =
      static_cast<double>(lab_.network.down(client_->id()).counters().bytes - overhead_from) *
      8e-6 / judged;
  out["queue_p50_ms"] = percentile(queue_ms_, 0.5);
  out["queue_p95_ms"] = percentile(queue_ms_, 0.95);
  if (settled_) out["settled_ms"] = milliseconds(*settled_);
  lab_.run(1s);
  if (bulk_ != nullptr) {
    out["bulk"] = of_flow(*bulk_);
    out["bulk"]["megabit"] = static_cast<double>(bulk_->figures().bytes_arrived) * 8e-6 / judged;
  }
  if (small_ != nullptr) out["small_up"] = of_flow(*small_);
  if (up_ != nullptr) out["up"] = of_flow(*up_);
  if (voice_up_ != nullptr) {
    out["voice_up"] = of_flow(*voice_up_);
    out["voice_down"] = of_flow(*voice_down_);
  }
  return out;
}

void print_row(const char* name, const std::vector<double>& values) {
  if (values.empty()) return;
  std::printf("%-24s %10.3f %10.3f %10.3f %10.3f\n", name, percentile(values, 0),
              percentile(values, 0.5), percentile(values, 0.9), percentile(values, 1));
}

void print_table(const Json& runs) {
  std::printf("%-24s %10s %10s %10s %10s\n", "", "least", "median", "p90", "most");
  constexpr std::array kFigures = {"/bulk/loss_percent",
                                   "/bulk/megabit",
                                   "/bulk/delay_p99_ms",
                                   "/link_megabit",
                                   "/queue_p50_ms",
                                   "/queue_p95_ms",
                                   "/settled_ms",
                                   "/voice_up/loss_percent",
                                   "/voice_up/delay_p99_ms",
                                   "/voice_down/loss_percent",
                                   "/voice_down/delay_p99_ms",
                                   "/small_up/loss_percent",
                                   "/up/loss_percent"};
  for (const char* figure : kFigures) {
    const Json::json_pointer where(figure);
    std::vector<double> values;
    for (const Json& run : runs) {
      if (run.contains(where)) values.push_back(run[where].get<double>());
    }
    print_row(figure + 1, values);
  }
  const Json::json_pointer loss("/bulk/loss_percent");
  std::string bad;
  for (const Json& run : runs) {
    if (run.contains(loss) && run[loss].get<double>() > 1) {
      bad += " " + std::to_string(run["seed"].get<uint64_t>());
    }
    if (!run.contains("link_megabit")) bad += " " + std::to_string(run["seed"].get<uint64_t>());
  }
  if (!bad.empty())
    std::printf("more than 1 %% of the flow down lost, or no connection: seeds%s\n", bad.c_str());
}

std::optional<Seeds> seeds_of(const std::string& text) {
  Seeds out;
  const size_t dash = text.find('-');
  try {
    out.first = std::stoull(text.substr(0, dash));
    out.last = dash == std::string::npos ? out.first : std::stoull(text.substr(dash + 1));
  } catch (const std::exception&) {
    return std::nullopt;
  }
  if (out.last < out.first || out.last - out.first >= 100'000) return std::nullopt;
  return out;
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("The path layer on a link profile, in the simulator, over many seeds");
  app.add_option("--profile", options.profile, "link profile (masque-linkemu profiles)")
      ->capture_default_str();
  app.add_option("--seeds", options.seeds, "N or FIRST-LAST")->capture_default_str();
  app.add_option("--mode", options.mode, "resilience.mode on both ends")
      ->check(CLI::IsMember({"auto", "off", "calls", "bulk"}))
      ->capture_default_str();
  app.add_option("--order", options.order, "instead of the profile's")
      ->check(CLI::IsMember({"kept", "free"}));
  app.add_option("--rate", options.rate_megabit, "of the link, Mbit/s, instead of the profile's");
  app.add_option("--queue", options.queue_ms, "of the link, ms, instead of the profile's");
  app.add_option("--new-rate", options.new_rate_megabit,
                 "of the link down, Mbit/s, from --new-rate-from on");
  app.add_option("--new-rate-from", options.new_rate_from, "second")->capture_default_str();
  app.add_option("--down", options.down_megabit, "datagrams of 1200 bytes down, Mbit/s");
  app.add_option("--small-up", options.small_up_per_second, "packets of 60 bytes up, per second");
  app.add_option("--up", options.up_megabit, "datagrams of 1200 bytes up, Mbit/s");
  app.add_option("--idle", options.idle, "seconds before all flows begin, with a ping each 50 ms");
  app.add_flag("--voice", options.voice, "a call beside it: 200 bytes every 20 ms, both ways");
  app.add_flag("!--no-shaper", options.shaper, "resilience.shaper = false");
  app.add_flag("--bbr", options.bbr, "QUIC runs BBR instead of CUBIC");
  app.add_option("--seconds", options.seconds, "of each run")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  app.add_option("--from", options.from, "second from which on figures count")
      ->capture_default_str();
  app.add_flag("--each-second", options.each_second, "a line for each second, on stderr");
  app.add_flag("--json", options.json, "every run as JSON");
  CLI11_PARSE(app, argc, argv);
  const auto fault = [](const std::string& what) {
    std::fprintf(stderr, "pathsim: %s\n", what.c_str());
    return 2;
  };
  const auto seeds = seeds_of(options.seeds);
  if (!seeds) return fault("--seeds is not N or FIRST-LAST: " + options.seeds);
  if (find_link_profile(options.profile) == nullptr) {
    return fault("there is no link profile " + options.profile);
  }
  if (options.from < 0 || options.from >= options.seconds) {
    return fault("--from must be less than --seconds");
  }
  Json runs = Json::array();
  for (uint64_t seed = seeds->first; seed <= seeds->last; ++seed) {
    runs.push_back(Run(options, seed).measure());
  }
  if (options.json) {
    std::printf("%s\n", runs.dump(2).c_str());
  } else {
    print_table(runs);
  }
  return 0;
}

}  // namespace
}  // namespace masque

int main(int argc, char** argv) { return masque::run(argc, argv); }
