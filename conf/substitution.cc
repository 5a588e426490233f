#include "conf/substitution.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <utility>

#include "conf/source_file.h"
#include "conf/tree_builder.h"
#include "conf/types.h"
#include "gateway/base/text.h"

namespace sluice::conf {
namespace {

bool IsVariableName(std::string_view name) {
  const auto word = [](char c) {
    const char lower = AsciiLower(c);
    return IsDigit(c) || (lower >= 'a' && lower <= 'z') || c == '_';
  };
  return !name.empty() && !IsDigit(name.front()) && std::all_of(name.begin(), name.end(), word);
}

std::string_view Trim(std::string_view text) { return TrimOws(text); }

class Substituter {
 public:
  Substituter(const std::string& directory, Diagnostics& diagnostics,
              const SubstitutionLimits& limits)
      : directory_(directory), diagnostics_(diagnostics), limits_(limits) {}

  void Walk(Node& node, const Place& place);

 private:
  void WalkEntries(Node& node, const Place& place);
  void ReplaceScalar(Node& node, const Place& place);
  std::optional<std::string> Expand(std::string_view text, Position position, const Place& place);
  std::optional<std::string> Evaluate(std::string_view expression, Position position,
                                      const Place& place);
  std::optional<std::string> Variable(std::string_view name, std::optional<std::string_view> other,
                                      Position position, const Place& place);
  std::optional<std::string> FileText(std::string_view path, Position position, const Place& place);
  std::optional<std::string> FileBase64(std::string_view path, Position position,
                                        const Place& place);

  const std::string& directory_;
  Diagnostics& diagnostics_;
  const SubstitutionLimits& limits_;
  size_t total_ = 0;
  bool took_value_ = false;  // for the scalar in hand: something not written in the document
};

// What follows "${" up to its end; "{VAR}" with the inner braces for APISIX's form.
std::optional<std::string_view> ExpressionAt(std::string_view text) {
  const std::string_view closing = text.starts_with('{') ? "}}" : "}";
  const size_t end = text.find(closing);
  if (end == std::string_view::npos) return std::nullopt;
  return text.substr(0, end + closing.size() - 1);
}

std::string EncodeBase64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t left = std::min<size_t>(bytes.size() - i, 3);
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) {
      group = group << 8 | (j < left ? static_cast<unsigned char>(bytes[i + j]) : 0U);
    }
    for (size_t j = 0; j < 4; ++j) out += j <= left ? kDigits[group >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

bool IsOneSubstitution(std::string_view text) {
  if (!text.starts_with("${")) return false;
  const auto expression = ExpressionAt(text.substr(2));
  return expression && expression->size() + 3 == text.size();
}

void Substituter::Walk(Node& node, const Place& place) {
  if (node.is_string()) {
    ReplaceScalar(node, place);
  } else if (node.is_list()) {
    for (size_t i = 0; i < node.items.size(); ++i) Walk(node.items[i], place.Of(i));
  } else if (node.is_map()) {
    WalkEntries(node, place);
  }
}

void Substituter::WalkEntries(Node& node, const Place& place) {
  bool renamed = false;
  for (Entry& entry : node.entries) {
    if (entry.key.find("${") != std::string::npos) {
      auto key = Expand(entry.key, entry.key_position, place.Of(entry));
      entry.value.broken = !key;
      if (key) entry.key = *std::move(key);
      renamed = true;
    }
    Walk(entry.value, place.Of(entry));
  }
  if (renamed) CheckUniqueKeys(node, diagnostics_);
}

void Substituter::ReplaceScalar(Node& node, const Place& place) {
  if (node.text.find("${") == std::string::npos) return;
  const bool typed = node.plain && IsOneSubstitution(node.text);
  took_value_ = false;
  auto value = Expand(node.text, node.position, place);
  if (!value) {
    node.broken = true;
    return;
  }
  if (typed) {
    node = ReadPlainScalar(*std::move(value), node.position);
  } else {
    node.text = *std::move(value);
  }
  node.hidden = took_value_;
  if (!std::isfinite(node.number)) place.Expected("a finite number in the range of a double");
}

std::optional<std::string> Substituter::Expand(std::string_view text, Position position,
                                               const Place& place) {
  std::string out;
  while (true) {
    const size_t dollar = text.find("${");
    out += text.substr(0, dollar);
    if (dollar == std::string_view::npos) break;
    text.remove_prefix(dollar + 2);
    if (out.ends_with('$')) {  // "$${" is a literal "${"
      out += '{';
      continue;
    }
    const auto expression = ExpressionAt(text);
    if (!expression) {
      place.FailAt(position, "expected } after ${", "write $${ for a literal ${");
      return std::nullopt;
    }
    const auto value = Evaluate(*expression, position, place);
    if (!value) return std::nullopt;
    total_ += value->size();
    if (total_ > limits_.total) {
      place.FailAt(position, "expected at most " + std::to_string(limits_.total) +
                                 " bytes of substituted values in a file");
      return std::nullopt;
    }
    out += *value;
    text.remove_prefix(expression->size() + 1);
  }
  return out;
}

std::optional<std::string> Substituter::Evaluate(std::string_view expression, Position position,
                                                 const Place& place) {
  std::string_view mark = ":-";
  if (expression.starts_with('{')) {
    expression = Trim(expression.substr(1, expression.size() - 2));
    mark = ":=";
  } else if (expression.starts_with("file:")) {
    return FileText(expression.substr(5), position, place);
  } else if (expression.starts_with("base64:")) {
    return FileBase64(expression.substr(7), position, place);
  }
  const size_t end = expression.find(mark);
  const std::string_view name = expression.substr(0, end);
  if (!IsVariableName(name)) {
    place.FailAt(position,
                 "expected ${VAR}, ${VAR:-default}, ${file:path} or ${base64:path}, got \"${" +
                     std::string(expression) + "}\"",
                 "write $${ for a literal ${");
    return std::nullopt;
  }
  if (end == std::string_view::npos) return Variable(name, std::nullopt, position, place);
  return Variable(name, expression.substr(end + mark.size()), position, place);
}

std::optional<std::string> Substituter::Variable(std::string_view name,
                                                 std::optional<std::string_view> other,
                                                 Position position, const Place& place) {
  const char* value = std::getenv(std::string(name).c_str());  // NOLINT(concurrency-mt-unsafe)
  if (value != nullptr && !(*value == '\0' && other)) {
    took_value_ = true;
    if (IsUtf8(value)) return std::string(value);
    place.FailAt(position, "expected UTF-8 text in the variable " + std::string(name));
    return std::nullopt;
  }
  if (other) return std::string(*other);
  place.FailAt(position, "the environment variable " + std::string(name) + " is not set",
               "set it, or write ${" + std::string(name) + ":-default}");
  return std::nullopt;
}

// For files that are no text.
std::optional<std::string> Substituter::FileBase64(std::string_view path, Position position,
                                                   const Place& place) {
  const auto bytes = ReadRegularFile(ResolvePath(directory_, std::string(path)), limits_.file);
  if (bytes) return EncodeBase64(*bytes);
  place.FailAt(position, "cannot read the file: " + bytes.error().detail);
  return std::nullopt;
}

std::optional<std::string> Substituter::FileText(std::string_view path, Position position,
                                                 const Place& place) {
  auto text = ReadRegularFile(ResolvePath(directory_, std::string(path)), limits_.file);
  if (!text) {
    place.FailAt(position, "cannot read the file: " + text.error().detail);
    return std::nullopt;
  }
  if (!IsUtf8(*text) || text->find('\0') != std::string::npos) {
    place.FailAt(position, "expected UTF-8 text in the file " + std::string(path));
    return std::nullopt;
  }
  took_value_ = true;
  // Editors and `echo` end a file with a line end that is no part of a secret.
  if (text->ends_with('\n')) text->pop_back();
  if (text->ends_with('\r')) text->pop_back();
  return *std::move(text);
}

}  // namespace

void Substitute(Node& root, const std::string& directory, Diagnostics& diagnostics,
                const SubstitutionLimits& limits) {
  Substituter(directory, diagnostics, limits).Walk(root, Place{root, diagnostics});
}

}  // namespace sluice::conf
