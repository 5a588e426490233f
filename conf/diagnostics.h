// Everything wrong with a configuration, collected and not thrown at the first: each with file,
// line, column, what came, what was expected, and a hint. Used by check, run, reload and the API.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::conf {

// A place in a source file. Lines and columns start at 1; line 0 means "the file as a whole".
struct Position {
  uint32_t file = 0;  // index into Sources
  uint32_t line = 0;
  uint32_t column = 0;
};

// The files that were read, kept for excerpts.
struct Source {
  std::string name;
  std::string text;
};

struct Diagnostic {
  Position position;
  std::string path;     // "routes[0].upstream.nodes"
  std::string message;  // what is wrong: what was expected and what came
  std::string hint;     // "did you mean ...?"; may be empty
};

class Diagnostics {
 public:
  static constexpr size_t kMaximum = 100;  // further ones are counted only

  uint32_t AddSource(std::string name, std::string text);  // returns the file index
  const std::vector<Source>& sources() const { return sources_; }

  void Add(Position position, std::string path, std::string message, std::string hint = {});
  bool empty() const { return total_ == 0; }
  size_t total() const { return total_; }
  const std::vector<Diagnostic>& list() const { return list_; }

  // "conf/x.yaml:3:7: error: …", the excerpt, a caret, the hint.
  std::string ToText() const;
  // [{"file","line","column","path","message","hint"}]
  std::string ToJson() const;
  // "conf/x.yaml:3"; for explain and logs.
  std::string Locate(Position position) const;

 private:
  std::vector<Source> sources_;
  std::vector<Diagnostic> list_;
  size_t total_ = 0;
};

}  // namespace sluice::conf
