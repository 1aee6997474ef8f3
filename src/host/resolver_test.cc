// SPDX-License-Identifier: Apache-2.0
#include "host/resolver.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <optional>

#include "host/event_loop.h"

namespace masque {
namespace {

class Resolving : public testing::Test {
 protected:
  Resolving()
      : loop_(std::move(*EventLoop::create())), resolver_(std::move(*Resolver::create(*loop_))) {}
  Resolver::Callback keep() {
    return [this](Resolver::Answer answer) { answer_ = std::move(answer); };
  }
  void run_until_answered() {
    for (int i = 0; i < 100 && !answer_; ++i) ASSERT_TRUE(loop_->run_once(100ms));
    ASSERT_TRUE(answer_.has_value());
  }

  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Resolver> resolver_;
  std::optional<Resolver::Answer> answer_;
};

TEST_F(Resolving, literals_are_answered_without_a_look_up_but_not_at_once) {
  for (const char* host : {"192.0.2.1", "2001:db8::1", "[2001:db8::1]"}) {
    answer_.reset();
    resolver_->resolve(host, 443, 1s, keep());
    EXPECT_FALSE(answer_);
    run_until_answered();
    ASSERT_TRUE(*answer_);
    ASSERT_EQ((*answer_)->size(), 1u);
    EXPECT_EQ((*answer_)->front().port, 443);
  }
}

TEST_F(Resolving, localhost_is_loopback) {
  resolver_->resolve("localhost", 8443, 5s, keep());
  run_until_answered();
  ASSERT_TRUE(*answer_) << answer_->error().message();
  ASSERT_FALSE((*answer_)->empty());
  for (const SocketAddress& address : **answer_) {
    EXPECT_TRUE(address.address.is_loopback());
    EXPECT_EQ(address.port, 8443);
  }
}

TEST_F(Resolving, a_name_that_cannot_exist_is_an_error_that_names_it) {
  resolver_->resolve("no such name", 443, 5s, keep());
  run_until_answered();
  ASSERT_FALSE(*answer_);
  EXPECT_TRUE(answer_->error().operation.contains("no such name")) << answer_->error().message();
}

TEST_F(Resolving, the_timeout_comes_first_and_the_answer_is_forgotten) {
  int answers = 0;
  resolver_->resolve("no such name", 443, Duration(0), [&](Resolver::Answer) { ++answers; });
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(loop_->run_once(5ms));
  EXPECT_EQ(answers, 1);
}

TEST_F(Resolving, a_cancelled_request_is_never_answered) {
  const auto id = resolver_->resolve("192.0.2.1", 443, 1s, keep());
  resolver_->cancel(id);
  ASSERT_TRUE(loop_->run_once(10ms));
  EXPECT_FALSE(answer_);
}

TEST_F(Resolving, the_resolver_may_go_before_its_threads) {
  for (int i = 0; i < 20; ++i)
    resolver_->resolve("localhost", 1, 1s, [](Resolver::Answer) { FAIL(); });
  resolver_.reset();
  ASSERT_TRUE(loop_->run_once(10ms));
}

}  // namespace
}  // namespace masque
