// SPDX-License-Identifier: Apache-2.0
// The program: command line in, objects wired, loop run, report out. Exit 0 done, 1 failed, 2
// usage.
#include <sched.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <print>

#include "host/clock.h"
#include "linkemu/bridge.h"
#include "linkemu/emulator.h"
#include "linkemu/help.h"
#include "linkemu/relay.h"
#include "linkemu/report.h"
#include "linkemu/settings.h"

namespace masque::linkemu {

namespace {

constexpr int kUsage = 2;
constexpr size_t kSlotMin = 2048;
// Beside what is held: the receive batches' slots, and the segments of a super-packet in hand.
constexpr size_t kSlotsSpare = 8 * ReceiveBatch::kMessages;

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, FileCloser>;

Result<size_t, SysError> slot_bytes(const Settings& settings) {
  if (settings.mode == Mode::Relay) return Relay::datagram_size_max(settings.plans);
  TRY(const size_t frame, Bridge::frame_size_max(settings.places[0], settings.places[1]));
  return frame;
}

Result<std::unique_ptr<PacketIo>, SysError> open_io(const Settings& settings, PacketPool& pool) {
  if (settings.mode == Mode::Relay) {
    // The command line was refused if these were none.
    TRY(auto relay, Relay::create({.listen = *SocketAddress::parse(settings.places[0]),
                                   .target = *SocketAddress::parse(settings.places[1]),
                                   .flows_max = settings.flows_max},
                                  pool));
    return relay;
  }
  TRY(auto bridge, Bridge::create(settings.places[0], settings.places[1], pool));
  return bridge;
}

// What is shown while it runs: a line for people, one of JSON for programs.
class LiveOutput {
 public:
  LiveOutput(const Settings& settings, File stats)
      : stats_(std::move(stats)),
        terminal_(::isatty(STDERR_FILENO) == 1),
        shows_(terminal_ || settings.interval > Duration::zero()) {}

  void show(const ReportSource& source, Instant now) {
    if (stats_) {
      std::println(stats_.get(), "{}", json_report(source, now));
      std::fflush(stats_.get());
    }
    if (!shows_) return;
    if (terminal_) {
      std::print(stderr, "\r\x1b[K{}", live_line(source, now));
    } else {
      std::println(stderr, "{}", live_line(source, now));
    }
    std::fflush(stderr);
  }
  void end() const {
    if (terminal_ && shows_) std::print(stderr, "\n");
  }
  bool wanted() const { return shows_ || stats_ != nullptr; }

 private:
  File stats_;
  bool terminal_;
  bool shows_;
};

Result<void, SysError> emulate(const Settings& settings, File stats) {
  TRY(const size_t size, slot_bytes(settings));
  TRY(PacketPool pool,
      PacketPool::create(settings.packets_max + kSlotsSpare, std::max(size, kSlotMin)));
  TRY(const std::unique_ptr<PacketIo> io, open_io(settings, pool));
  LiveOutput live(settings, std::move(stats));
  const Duration interval = settings.interval > Duration::zero() ? settings.interval : 1s;
  const Emulator::Options options{.held_max = settings.packets_max,
                                  .precision = settings.precision,
                                  .interval = live.wanted() ? interval : Duration::zero(),
                                  .run_for = settings.run_for,
                                  .plans = settings.plans,
                                  .seed = settings.seed};
  const auto emulator = std::make_unique<Emulator>(options, *io, pool, monotonic_now());
  const ReportSource source{.settings = settings, .emulator = *emulator, .io = *io};
  std::println(stderr, "masque-linkemu: ready: {} {}, profile {}/{}, seed {}", settings.places[0],
               settings.places[1], settings.profiles[0], settings.profiles[1], settings.seed);
  std::fflush(stderr);
  TRY_VOID(emulator->run([&](Instant now) { live.show(source, now); }));
  live.end();
  const Instant now = monotonic_now();
  if (settings.output == Output::Json) {
    std::println("{}", json_report(source, now));
  } else {
    std::print("{}", text_report(source, now));
  }
  return {};
}

int run(const Settings& settings) {
  if (settings.priority == Priority::Realtime) {
    // Where that is not allowed it goes on without; the report tells the delay error.
    const sched_param parameter{.sched_priority = 1};
    ::sched_setscheduler(0, SCHED_FIFO, &parameter);
  }
  File stats;
  if (!settings.stats_file.empty()) {
    stats = File(std::fopen(settings.stats_file.c_str(), "we"));
    if (!stats) {
      std::println(stderr, "masque-linkemu: cannot write {}", settings.stats_file);
      return 1;
    }
  }
  if (const auto done = emulate(settings, std::move(stats)); !done) {
    std::println(stderr, "masque-linkemu: {}", done.error().message());
    return 1;
  }
  return 0;
}

int print_completion(const std::string& shell) {
  const auto script = completion(shell);
  if (!script) {
    std::println(stderr, "masque-linkemu: {}", script.error());
    return kUsage;
  }
  std::print("{}", *script);
  return 0;
}

int run_command(int argc, char** argv) {
  const auto settings = parse_arguments(argc, argv);
  if (!settings) {
    std::println(stderr, "masque-linkemu: {} (--help tells more)", settings.error());
    return kUsage;
  }
  switch (settings->mode) {
    case Mode::Help:
      std::print("{}", help_text());
      return 0;
    case Mode::Man:
      std::print("{}", man_page());
      return 0;
    case Mode::Completion:
      return print_completion(settings->places[0]);
    case Mode::Version:
      std::println("masque-linkemu {}", MASQUE_LINKEMU_VERSION);
      return 0;
    case Mode::Profiles:
      std::print("{}", settings->output == Output::Json ? profiles_json() : profiles_text());
      return 0;
    case Mode::Bridge:
    case Mode::Relay:
      return run(*settings);
  }
  std::unreachable();
}

}  // namespace

}  // namespace masque::linkemu

int main(int argc, char** argv) { return masque::linkemu::run_command(argc, argv); }
