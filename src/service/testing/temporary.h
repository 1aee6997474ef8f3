// SPDX-License-Identifier: Apache-2.0
// For tests: a directory that goes away, files in it, and one CA made once for the whole program.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "service/files.h"
#include "service/pki/certificate.h"

namespace masque::testing {

class Temporary {
 public:
  Temporary() {
    // In memory where there is such a place: databases sync after every change.
    const bool memory = access("/dev/shm", W_OK) == 0;
    std::string pattern = std::string(memory ? "/dev/shm" : "/tmp") + "/masque-test.XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  ~Temporary() { std::filesystem::remove_all(path_); }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }
  std::string write(std::string_view name, std::string_view text, unsigned mode = 0600) const {
    const std::string path = file(name);
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    EXPECT_TRUE(replace_file(path, text, mode));
    chmod(path.c_str(), mode);  // whatever the umask is
    return path;
  }
  std::string read(std::string_view name) const {
    const auto file_text = read_text_file(file(name));
    return file_text ? file_text->text : "";
  }

 private:
  std::string path_;
};

struct Authority {
  Identity ca = *make_ca("Test CA");
  Identity server = *make_server_certificate(ca, {"vpn.example.local"});
  Identity client = *make_client_certificate(ca, "anna");
  static const Authority& shared() {
    static const Authority authority;
    return authority;
  }
};

}  // namespace masque::testing
