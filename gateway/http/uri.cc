#include "gateway/http/uri.h"

#include <algorithm>
#include <array>
#include <utility>

#include "gateway/base/text.h"
#include "gateway/http/characters.h"
#include "gateway/http/excerpt.h"

namespace sluice {
namespace {

using characters::Class;

constexpr std::string_view kUpperHex = "0123456789ABCDEF";

Error BadPath(std::string_view expected, std::string_view path) {
  std::string detail = "expected ";
  detail += expected;
  return ClientError(ErrorCode::kBadPath, detail + ", got " + Excerpt(path));
}

// The byte that "%NN" at the front of `text` stands for.
std::optional<char> DecodeEscape(std::string_view text) {
  if (text.size() < 3) return std::nullopt;
  const int high = HexValue(text[1]);
  const int low = HexValue(text[2]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<char>(high * 16 + low);
}

// Is "%NN" at the front valid, upper-case, and of a byte that stays escaped?
bool IsNormalEscape(std::string_view text) {
  const std::optional<char> byte = DecodeEscape(text);
  return byte && *byte != '\0' && *byte != '/' && *byte != '\\' &&
         !characters::Is(*byte, Class::kUnreserved) && text[1] < 'a' && text[2] < 'a';
}

// The number of dots if a dot segment, with or without parameters, is at the front; otherwise 0.
size_t CountDots(std::string_view text) {
  if (!text.starts_with('.')) return 0;
  const size_t dots = text.starts_with("..") ? 2 : 1;
  const std::string_view behind = text.substr(dots);
  const bool ends = behind.empty() || behind.front() == '/' || behind.front() == ';' ||
                    behind.starts_with("%3B") || behind.starts_with("%3b");
  return ends ? dots : 0;
}

// The usual case in one pass. False only means that a closer look is needed.
bool IsNormal(std::string_view path) {
  if (path.empty() || path.front() != '/') return false;
  for (size_t i = 0; i < path.size(); ++i) {
    const char c = path[i];
    if (c == '/') {
      const std::string_view behind = path.substr(i + 1);
      if (behind.starts_with('/') || CountDots(behind) > 0) return false;
    } else if (c == '%') {
      if (!IsNormalEscape(path.substr(i))) return false;
      i += 2;
    } else if (!characters::Is(c, Class::kPath)) {
      return false;
    }
  }
  return true;
}

// Builds a normal path, segment by segment, in memory that holds the longest possible result.
class PathBuilder {
 public:
  PathBuilder(std::string_view path, char* out) : path_(path), begin_(out), end_(out) {}

  Result<std::string_view> Build();

 private:
  Status AppendSegment(std::string_view segment);
  Status CloseSegment(char* start);
  void AppendEscape(char byte);

  std::string_view path_;
  char* begin_;
  char* end_;  // behind a '/' whenever a segment starts
};

Result<std::string_view> PathBuilder::Build() {
  *end_++ = '/';
  std::string_view rest = path_.substr(1);
  while (true) {
    const size_t slash = rest.find('/');
    char* start = end_;
    SLUICE_TRY(AppendSegment(rest.substr(0, slash)));
    SLUICE_TRY(CloseSegment(start));
    if (slash == std::string_view::npos) break;
    // An empty or a removed segment leaves the slash that is already there.
    if (end_[-1] != '/') *end_++ = '/';
    rest.remove_prefix(slash + 1);
  }
  return std::string_view(begin_, static_cast<size_t>(end_ - begin_));
}

// Copies with the escapes normalised.
Status PathBuilder::AppendSegment(std::string_view segment) {
  for (size_t i = 0; i < segment.size(); ++i) {
    const char c = segment[i];
    if (characters::Is(c, Class::kPath)) {
      *end_++ = c;
    } else if (c == '%') {
      const std::optional<char> byte = DecodeEscape(segment.substr(i));
      if (!byte) return BadPath("two hex digits after '%' in the path", path_);
      if (*byte == '\0' || *byte == '/' || *byte == '\\') {
        return BadPath("a path without escaped NUL, slash or backslash", path_);
      }
      if (characters::Is(*byte, Class::kUnreserved)) {
        *end_++ = *byte;
      } else {
        AppendEscape(*byte);
      }
      i += 2;
    } else if (c == '\\' || c == '#' || c == '?' || !characters::IsPlain({&c, 1}, '!')) {
      return BadPath("a path without controls, white space, '\\', '?' and '#'", path_);
    } else {
      AppendEscape(c);
    }
  }
  return {};
}

void PathBuilder::AppendEscape(char byte) {
  *end_++ = '%';
  *end_++ = kUpperHex[static_cast<uint8_t>(byte) >> 4];
  *end_++ = kUpperHex[static_cast<uint8_t>(byte) & 0xf];
}

// Takes dot segments out again. Some servers cut parameters off before they look for dots
// ("/..;x/"), so a dot segment with parameters is refused.
Status PathBuilder::CloseSegment(char* start) {
  const std::string_view segment(start, static_cast<size_t>(end_ - start));
  const size_t dots = CountDots(segment);
  if (dots == 0) return {};
  if (segment.size() > dots) return BadPath("a path without parameters on '.' or '..'", path_);
  end_ = start;
  if (dots == 1) return {};
  if (start - begin_ <= 1) return BadPath("a path that does not climb above '/'", path_);
  --end_;  // the slash before ".."
  while (end_[-1] != '/') --end_;
  return {};
}

// Does `text`, percent-decoded, equal `name`?
bool DecodesTo(std::string_view text, std::string_view name) {
  size_t i = 0;
  for (const char wanted : name) {
    if (i >= text.size()) return false;
    char c = text[i++];
    if (c == '+') {
      c = ' ';
    } else if (c == '%') {
      if (const std::optional<char> byte = DecodeEscape(text.substr(i - 1))) {
        c = *byte;
        i += 2;
      }
    }
    if (c != wanted) return false;
  }
  return i == text.size();
}

// Takes the part before `separator` from the front.
std::string_view TakePart(std::string_view& list, char separator) {
  const size_t end = list.find(separator);
  const std::string_view part = list.substr(0, end);
  list.remove_prefix(end == std::string_view::npos ? list.size() : end + 1);
  return part;
}

}  // namespace

Result<std::string_view> NormalizePath(std::string_view path, Arena& arena) {
  if (IsNormal(path) || path == "*") return path;
  if (path.empty() || path.front() != '/') return BadPath("a path that starts with '/'", path);
  const auto grows = static_cast<size_t>(std::count_if(path.begin(), path.end(), [](char c) {
    return !characters::Is(c, Class::kPath) && c != '%';
  }));
  return PathBuilder(path, arena.Allocate(path.size() + 2 * grows)).Build();
}

std::string DecodeQueryComponent(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      out += ' ';
    } else if (const auto byte = text[i] == '%' ? DecodeEscape(text.substr(i)) : std::nullopt) {
      out += *byte;
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string_view FindQueryArgument(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::string_view pair = TakePart(query, '&');
    const size_t equals = std::min(pair.find('='), pair.size());
    const std::string_view key = pair.substr(0, equals);
    if (key.empty()) continue;
    if (key == name || (key.size() >= name.size() && DecodesTo(key, name))) {
      return pair.substr(std::min(equals + 1, pair.size()));
    }
  }
  return {};
}

std::string ReplaceQueryArguments(std::string_view query, std::string_view name,
                                  std::optional<std::string_view> value) {
  std::string out;
  bool first = true;
  for (size_t at = 0; at <= query.size();) {
    const std::string_view pair = query.substr(at, query.find('&', at) - at);
    at += pair.size() + 1;
    const bool named = FindQueryArgument(pair, name).data() != nullptr;
    if (named && !value) continue;
    if (!std::exchange(first, false)) out += '&';
    out.append(named ? pair.substr(0, std::min(pair.find('='), pair.size())) : pair);
    if (named) out.append("=").append(*value);
  }
  return out;
}

std::string_view FindCookie(std::string_view cookies, std::string_view name) {
  while (!cookies.empty()) {
    const std::string_view pair = TrimOws(TakePart(cookies, ';'));
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos) continue;
    if (TrimOws(pair.substr(0, equals)) == name) return TrimOws(pair.substr(equals + 1));
  }
  return {};
}

std::string ReplaceCookies(std::string_view cookies, std::string_view name,
                           std::optional<std::string_view> value) {
  std::string out;
  while (!cookies.empty()) {
    const std::string_view pair = TrimOws(TakePart(cookies, ';'));
    const bool named = FindCookie(pair, name).data() != nullptr;
    if (pair.empty() || (named && !value)) continue;
    out.append(out.empty() ? "" : "; ").append(named ? name : pair);
    if (named) out.append("=").append(*value);
  }
  return out;
}

std::string_view NormalizeHost(std::string_view authority, Arena& arena) {
  // Only an address in brackets has colons before the one of the port.
  const size_t brackets = authority.starts_with('[') ? authority.find(']') : 0;
  std::string_view host = authority.substr(0, authority.find(':', brackets));
  if (host.ends_with('.')) host.remove_suffix(1);
  const bool lower =
      std::none_of(host.begin(), host.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
  if (lower) return host;
  char* out = arena.Allocate(host.size());
  std::transform(host.begin(), host.end(), out, AsciiLower);
  return {out, host.size()};
}

}  // namespace sluice
