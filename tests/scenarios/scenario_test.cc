// SPDX-License-Identifier: Apache-2.0
// Runs the table of scenarios.
#include "tests/scenarios/scenario.h"

#include <cstdlib>
#include <format>
#include <iostream>
#include <map>

#include "service/pki/certificate.h"

namespace masque {

std::vector<Scenario>& scenario_table() {
  static std::vector<Scenario> table;
  return table;
}

namespace {

// OpenSSL contexts of one authority; made once, because keys cost time.
class OpensslFactory final : public TlsFactory {
 public:
  OpensslFactory() : ca_(make_ca("simulation").value()) {}

  std::unique_ptr<TlsContext> server(std::string_view name) override {
    Identity& identity = servers_[std::string(name)];
    if (identity.key_pem.empty())
      identity = make_server_certificate(ca_, {std::string(name)}).value();
    return make_tls_server({.certificate_pem = identity.certificate_pem,
                            .key_pem = identity.key_pem,
                            .client_ca_pem = ca_.certificate_pem,
                            .client_certificates = ClientCertificates::Optional})
        .value();
  }
  std::unique_ptr<TlsContext> client(std::string_view name, std::string_view server_name) override {
    Identity& identity = clients_[std::string(name)];
    if (identity.key_pem.empty()) identity = make_client_certificate(ca_, name).value();
    return make_tls_client({.server_name = std::string(server_name),
                            .ca_pem = ca_.certificate_pem,
                            .certificate_pem = identity.certificate_pem,
                            .key_pem = identity.key_pem})
        .value();
  }

 private:
  Identity ca_;
  std::map<std::string, Identity> servers_;
  std::map<std::string, Identity> clients_;
};

TlsFactory* real_tls() {
  static OpensslFactory factory;
  return &factory;
}

struct Case {
  size_t index;  // into the table
  uint64_t seed;
  enum class Repeat : uint8_t { Once, Twice } repeat = Repeat::Once;
};

// Sanitizers and counters of coverage make a run up to fifteen times as long. `kSeedsTwice`: of
// each scenario, so many run twice and must repeat bit by bit.
#ifdef MASQUE_SLOW_BUILD
constexpr size_t kSeedFactor = 1;
constexpr size_t kSeedsTwice = 1;
#else
constexpr size_t kSeedFactor = 5;
constexpr size_t kSeedsTwice = 10;
#endif

std::vector<Case> all_cases() {
  const char* one_seed = std::getenv("MASQUE_SEED");
  const char* many = std::getenv("MASQUE_SEEDS");
  std::vector<Case> out;
  for (size_t i = 0; i < scenario_table().size(); ++i) {
    const Scenario& scenario = scenario_table()[i];
    const bool repeats = scenario.crypto == Crypto::Null;
    if (one_seed != nullptr) {
      out.push_back({.index = i,
                     .seed = std::strtoull(one_seed, nullptr, 0),
                     .repeat = repeats ? Case::Repeat::Twice : Case::Repeat::Once});
      continue;
    }
    const size_t count =
        many != nullptr ? std::strtoull(many, nullptr, 0) : scenario.seeds * kSeedFactor;
    for (size_t k = 0; k < count; ++k) {
      out.push_back(
          {.index = i,
           .seed = k + 1,
           .repeat = repeats && k < kSeedsTwice ? Case::Repeat::Twice : Case::Repeat::Once});
    }
  }
  return out;
}

std::string case_name(const testing::TestParamInfo<Case>& info) {
  return std::format("{}_seed_{}", scenario_table()[info.param.index].name, info.param.seed);
}

// MASQUE_CRYPTO=real runs everything over OpenSSL.
bool force_real() {
  const char* wanted = std::getenv("MASQUE_CRYPTO");
  return wanted != nullptr && std::string_view(wanted) == "real";
}

uint64_t run_once(const Scenario& scenario, uint64_t seed) {
  const bool real = scenario.crypto == Crypto::Real || force_real();
  Lab lab(seed, real ? real_tls() : nullptr);
  scenario.run(lab);
  EXPECT_EQ(lab.world.violation_count(), 0u) << [&] {
    std::string all;
    for (const std::string& text : lab.world.violations()) all += text + "\n";
    return all;
  }();
  EXPECT_GT(lab.world.trace_length(), 0u) << "nothing happened";
  return lab.world.trace_hash();
}

class Sim : public testing::TestWithParam<Case> {};

TEST_P(Sim, scenario) {
  const Case& one = GetParam();
  const Scenario& scenario = scenario_table()[one.index];
  const uint64_t hash = run_once(scenario, one.seed);
  if (one.repeat == Case::Repeat::Twice && !force_real() && !HasFailure()) {
    EXPECT_EQ(hash, run_once(scenario, one.seed)) << "I-12: the same seed gave another trace";
  }
  RecordProperty("trace_hash", std::format("{:016x}", hash));
  if (HasFailure()) {
    std::cout << std::format("{}: {}\nreplay: MASQUE_SEED={} {} --gtest_filter='*{}_seed_*'\n",
                             scenario.name, scenario.description, one.seed,
                             testing::internal::GetArgvs()[0], scenario.name);
  }
}

INSTANTIATE_TEST_SUITE_P(Table, Sim, testing::ValuesIn(all_cases()), case_name);

// The issue asks for thirty; a scenario that loses its registration would vanish silently.
TEST(ScenarioTable, has_at_least_thirty_named_scenarios) {
  EXPECT_GE(scenario_table().size(), 30u);
  std::map<std::string, int> names;
  for (const Scenario& scenario : scenario_table()) {
    EXPECT_FALSE(scenario.description.empty()) << scenario.name;
    EXPECT_EQ(++names[scenario.name], 1) << scenario.name;
  }
}

}  // namespace
}  // namespace masque
