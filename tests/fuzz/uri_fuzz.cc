// Paths, hosts, queries and cookies: normalising twice changes nothing, and what comes out holds
// nothing that another server could read as another path.
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "gateway/http/hygiene.h"
#include "gateway/http/uri.h"

namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken property: %s\n", what);
  std::abort();
}

bool IsUpperHex(char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); }

void RequireNormal(std::string_view path) {
  Require(path.front() == '/', "a path starts with a slash");
  for (size_t i = 0; i < path.size(); ++i) {
    const auto byte = static_cast<unsigned char>(path[i]);
    Require(byte > ' ' && byte < 0x7f, "only printable ASCII");
    Require(path[i] != '\\' && path[i] != '#' && path[i] != '?', "no ambiguous character");
    if (path[i] != '%') continue;
    Require(path.size() - i >= 3 && IsUpperHex(path[i + 1]) && IsUpperHex(path[i + 2]), "escape");
    const int decoded = std::stoi(std::string(path.substr(i + 1, 2)), nullptr, 16);
    Require(decoded != 0 && decoded != '/' && decoded != '\\', "no escaped separator");
    Require(std::isalnum(decoded) == 0 && decoded != '.', "unreserved characters are decoded");
  }
  std::string_view rest = path.substr(1);
  while (true) {
    const size_t slash = rest.find('/');
    const std::string_view segment = rest.substr(0, slash);
    Require(segment != "." && segment != "..", "no dot segment");
    Require(!segment.starts_with(".;") && !segment.starts_with("..;"), "no dots with parameters");
    if (slash == std::string_view::npos) return;
    Require(!segment.empty(), "no empty segment");
    rest.remove_prefix(slash + 1);
  }
}

void CheckPath(std::string_view text) {
  sluice::Arena arena(64);
  const auto once = sluice::NormalizePath(text, arena);
  if (!once || *once == "*") return;
  RequireNormal(*once);
  const auto twice = sluice::NormalizePath(*once, arena);
  Require(twice.has_value() && *twice == *once, "normalising twice changes nothing");
  Require(twice->data() == once->data(), "a normal path is not copied");
}

void CheckHost(std::string_view text) {
  if (!sluice::IsValidAuthority(text)) return;
  sluice::Arena arena(64);
  const std::string_view once = sluice::NormalizeHost(text, arena);
  for (const char c : once) Require(c < 'A' || c > 'Z', "a host is in lower case");
  if (once.ends_with('.')) return;  // "a.." loses one dot at a time
  Require(sluice::NormalizeHost(once, arena) == once, "normalising twice changes nothing");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string copy(reinterpret_cast<const char*>(data), size);
  const std::string_view text = copy;
  CheckPath(text);
  CheckPath("/" + copy);
  CheckHost(text);
  const std::string_view name = text.substr(0, text.find_first_of("=&;"));
  const std::string_view argument = sluice::FindQueryArgument(text, name);
  const std::string_view cookie = sluice::FindCookie(text, name);
  Require(argument.size() <= size && cookie.size() <= size, "values are parts of the text");
  Require(sluice::DecodeQueryComponent(text).size() <= size, "decoding never grows");
  return 0;
}
