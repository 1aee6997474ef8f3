// SPDX-License-Identifier: Apache-2.0
#include "host/control_socket.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <thread>

#include "host/clock.h"
#include "host/control_address.h"
#include "host/event_loop.h"
#include "host/system.h"

namespace masque {
namespace {

using ClientId = ControlServer::ClientId;
using Peer = ControlServer::Peer;

class Control : public testing::Test {
 protected:
  Control() : loop_(std::move(*EventLoop::create())) {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "masque-control-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
    path_ = directory_ + "/control.sock";
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(directory_);
  }
  void serve(ControlServer::LineHandler handler) {
    auto server = ControlServer::create(*loop_, {.path = path_, .mode = 0600}, std::move(handler));
    ASSERT_TRUE(server) << server.error().message();
    server_ = std::move(*server);
  }
  void serve_echo() {
    serve([this](ClientId client, const Peer&, std::string_view line) {
      server_->send(client, std::string("echo ") + std::string(line));
    });
  }
  // Runs the client in a thread and the loop here until it is done.
  template <class Client>
  void with_client(Client client) {
    std::thread thread([&] {
      client();
      loop_->stop();
    });
    EXPECT_TRUE(loop_->run());
    thread.join();
  }
  void turns(int count) {
    for (int i = 0; i < count; ++i) ASSERT_TRUE(loop_->run_once(20ms));
  }

  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<ControlServer> server_;
  std::string directory_;
  std::string path_;
};

TEST_F(Control, one_question_one_answer) {
  Peer seen;
  serve([&](ClientId client, const Peer& peer, std::string_view line) {
    seen = peer;
    server_->send(client, std::string("{\"got\":") + std::string(line) + "}");
  });
  with_client([&] {
    const auto answer = control_call(path_, "\"status\"", 5s);
    ASSERT_TRUE(answer) << answer.error().message();
    EXPECT_EQ(*answer, "{\"got\":\"status\"}");
  });
  EXPECT_EQ(seen.uid, ::getuid());
  EXPECT_EQ(seen.pid, ::getpid());
}

TEST_F(Control, a_listener_of_this_process_lives_in_this_network) {
  EXPECT_FALSE(control_peer_network(path_, 5s)) << "nobody listens yet";
  serve_echo();
  EXPECT_EQ(control_peer_network(path_, 5s), PeerNetwork::Same);
}

TEST_F(Control, the_socket_file_has_the_mode_asked_for_and_goes_away) {
  serve_echo();
  struct stat status{};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(Control, several_lines_in_one_write_and_one_line_in_several) {
  serve_echo();
  with_client([&] {
    auto client = ControlClient::connect(path_, 5s);
    ASSERT_TRUE(client);
    ASSERT_TRUE(client->send("one\ntwo", 5s));
    EXPECT_EQ(client->receive(5s).value_or("?"), "echo one");
    EXPECT_EQ(client->receive(5s).value_or("?"), "echo two");
  });
}

TEST_F(Control, answers_may_come_later) {
  std::optional<ClientId> asked;
  serve([&](ClientId client, const Peer&, std::string_view) {
    asked = client;
    loop_->set_deadline(monotonic_now() + 2ms);
  });
  loop_->set_on_deadline([&](Instant) {
    EXPECT_TRUE(server_->send(*asked, "late"));
    server_->close(*asked);
  });
  with_client([&] {
    auto client = ControlClient::connect(path_, 5s);
    ASSERT_TRUE(client && client->send("?", 5s));
    EXPECT_EQ(client->receive(5s).value_or("?"), "late");
    EXPECT_EQ(client->receive(5s).error().code, ECONNRESET);
  });
  EXPECT_EQ(server_->client_count(), 0u);
  EXPECT_FALSE(server_->send(*asked, "too late"));
}

TEST_F(Control, a_line_at_the_limit_passes_and_one_past_it_disconnects) {
  size_t got = 0;
  serve([&](ClientId client, const Peer&, std::string_view line) {
    got = line.size();
    server_->send(client, "ok");
  });
  with_client([&] {
    EXPECT_EQ(control_call(path_, std::string(ControlServer::kLineMax, 'x'), 10s).value_or("?"),
              "ok");
    got = 0;
    EXPECT_FALSE(control_call(path_, std::string(ControlServer::kLineMax + 1, 'x'), 10s));
  });
  EXPECT_EQ(got, 0u);
}

TEST_F(Control, a_client_that_does_not_read_is_disconnected_at_the_limit) {
  serve([&](ClientId client, const Peer&, std::string_view) {
    const std::string piece(64 * 1024, 'x');
    size_t sent = 0;
    while (server_->send(client, piece)) {
      sent += piece.size();
      ASSERT_LT(sent, 4 * ControlServer::kOutputMax);
    }
  });
  int closed = 0;
  server_->set_on_close([&](ClientId) { ++closed; });
  with_client([&] {
    auto client = ControlClient::connect(path_, 5s);
    ASSERT_TRUE(client && client->send("flood", 5s));
    std::this_thread::sleep_for(50ms);
  });
  turns(2);
  EXPECT_EQ(closed, 1);
  EXPECT_EQ(server_->client_count(), 0u);
}

TEST_F(Control, clients_past_the_limit_are_refused) {
  serve_echo();
  std::vector<ControlClient> clients;
  for (size_t i = 0; i < ControlServer::kClientsMax + 1; ++i) {
    auto client = ControlClient::connect(path_, 5s);
    ASSERT_TRUE(client);
    clients.push_back(std::move(*client));
    turns(1);
  }
  EXPECT_EQ(server_->client_count(), ControlServer::kClientsMax);
  clients.clear();
  turns(3);
  EXPECT_EQ(server_->client_count(), 0u);
  with_client([&] { EXPECT_EQ(control_call(path_, "again", 5s).value_or("?"), "echo again"); });
}

TEST_F(Control, a_stale_socket_file_is_replaced) {
  {
    const auto name = to_unix_name(path_);
    const auto fd = sys::socket(AF_UNIX, SOCK_STREAM, 0);
    ASSERT_TRUE(name && fd && sys::bind(fd->get(), name->get(), name->length));
  }
  ASSERT_TRUE(std::filesystem::exists(path_));
  serve_echo();
  with_client([&] { EXPECT_EQ(control_call(path_, "hello", 5s).value_or("?"), "echo hello"); });
}

TEST_F(Control, a_living_socket_and_a_file_of_another_kind_are_left_alone) {
  serve_echo();
  const auto second = ControlServer::create(*loop_, {.path = path_},
                                            [](ClientId, const Peer&, std::string_view) {});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, EADDRINUSE);
  EXPECT_TRUE(std::filesystem::exists(path_));

  const std::string file = directory_ + "/file";
  ASSERT_TRUE(sys::open(file, 0101, 0600));  // O_WRONLY | O_CREAT
  const auto third =
      ControlServer::create(*loop_, {.path = file}, [](ClientId, const Peer&, std::string_view) {});
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().code, EEXIST);
  EXPECT_TRUE(std::filesystem::exists(file));
}

TEST_F(Control, a_server_that_does_not_answer_times_out) {
  serve([](ClientId, const Peer&, std::string_view) {});
  with_client([&] {
    const auto answer = control_call(path_, "?", 50ms);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, ETIMEDOUT);
  });
}

TEST_F(Control, nobody_there_is_said_at_once) {
  EXPECT_EQ(control_call(path_, "?", 5s).error().code, ENOENT);
  EXPECT_EQ(control_call(std::string(200, 'x'), "?", 5s).error().code, ENAMETOOLONG);
}

}  // namespace
}  // namespace masque
