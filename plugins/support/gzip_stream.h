// Compresses a stream of bytes into gzip (RFC 1952). Holds 9 to 268 KB of its own, by level and
// length; everything else goes out with each call. zlib stays in the .cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::plugins {

class GzipStream {
 public:
  enum class Flush : uint8_t {
    kNone,  // as it compresses best
    kSync,  // all bytes so far can be read from the output
    kEnd,   // they are all
  };

  // `level` 1 to 9. `length`: of all input, where it is known; short ones need less memory. Null
  // when there is no memory.
  static std::unique_ptr<GzipStream> Make(int level, std::optional<uint64_t> length);
  ~GzipStream();
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;

  // Appends what comes out. Nothing may follow kEnd.
  void Add(std::string_view bytes, Flush flush, std::string& out);

 private:
  struct State;
  explicit GzipStream(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace sluice::plugins
