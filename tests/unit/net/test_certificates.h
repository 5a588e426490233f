// Certificates for tests, made by the openssl command in a directory that goes with the object.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

namespace sluice {

class TestCertificates {
 public:
  TestCertificates() {
    char name[] = "/tmp/sluice-tls-XXXXXX";
    directory_ = mkdtemp(name);
    Run("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=TestCA "
        "-keyout ca.key -out ca.pem");
  }
  ~TestCertificates() { std::filesystem::remove_all(directory_); }

  // Signed by the authority. `key`: "ec" or "rsa".
  void Issue(const std::string& name, const std::string& names, const std::string& key = "ec",
             const std::string& days = "2") {
    const std::string kind = key == "rsa" ? "rsa:2048" : "ec -pkeyopt ec_paramgen_curve:P-256";
    Run("req -newkey " + kind + " -nodes -subj /CN=" + name + " -keyout " + name + ".key -out " +
        name + ".csr");
    Write(name + ".ext", "subjectAltName=" + names + "\n");
    Run("x509 -req -in " + name + ".csr -CA ca.pem -CAkey ca.key -CAcreateserial -days " + days +
        " -extfile " + name + ".ext -out " + name + ".pem");
  }

  std::string Read(const std::string& name) const {
    std::ifstream file(directory_ / name);
    std::ostringstream text;
    text << file.rdbuf();
    EXPECT_FALSE(text.str().empty()) << name;
    return text.str();
  }

  void Run(const std::string& arguments) {
    const std::string command =
        "cd " + directory_.string() + " && openssl " + arguments + " >log 2>&1 </dev/null";
    ASSERT_EQ(std::system(command.c_str()), 0) << command << "\n" << Read("log");
  }

 private:
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(directory_ / name) << text;
  }

  std::filesystem::path directory_;
};

}  // namespace sluice
