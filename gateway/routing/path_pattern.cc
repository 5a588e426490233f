#include "gateway/routing/path_pattern.h"

#include <algorithm>
#include <string>

#include "gateway/http/uri.h"

namespace sluice {

namespace {

Error BadPattern(std::string_view uri, const std::string& reason) {
  return GatewayError(ErrorCode::kInvalidConfig, "expected a path as /a, /a/* or /a/:name, got \"" +
                                                     std::string(uri.substr(0, 200)) +
                                                     "\": " + reason);
}

std::string_view Segment(std::string_view text) { return text.substr(0, text.find('/')); }

// A space cannot stand in a request line; users write it plainly.
std::string_view EscapeSpaces(std::string_view uri, Arena& arena) {
  if (uri.find(' ') == std::string_view::npos) return uri;
  std::string out;
  for (const char c : uri) c == ' ' ? out.append("%20") : out.append(1, c);
  return arena.Copy(out);
}

// Did normalising remove a segment, so that the text as written cannot be met?
bool LostSegment(std::string_view before, std::string_view after) {
  return std::count(before.begin(), before.end(), '/') !=
             std::count(after.begin(), after.end(), '/') ||
         (before.back() == '/') != (after.back() == '/');
}

Result<std::string_view> NormalForm(std::string_view uri, Arena& arena) {
  if (const size_t at = uri.find_first_of("?#"); at != std::string_view::npos) {
    return BadPattern(uri, uri[at] == '?' ? "a query is not part of the path; compare it by vars, "
                                            "as in [[\"arg_name\", \"==\", \"value\"]]"
                                          : "a fragment is never sent to a server");
  }
  const std::string_view escaped = EscapeSpaces(uri, arena);
  const auto normal = NormalizePath(escaped, arena);
  if (!normal) return BadPattern(uri, normal.error().detail);
  if (LostSegment(escaped, *normal)) {
    return BadPattern(uri, "it could never match, because request paths are normalised; write \"" +
                               std::string(*normal) + "\"");
  }
  return *normal;
}

// Matches the rest of a pattern, from the beginning of a segment, against the path from there.
bool MatchesSegments(std::string_view pattern, std::string_view path) {
  while (true) {
    const std::string_view want = Segment(pattern);
    if (!want.empty() && want.front() == '*') {
      const std::string_view tail = pattern.substr(want.size());
      if (tail.empty()) return true;
      // The tail has no second "*", so it takes as many segments as it is written with.
      size_t cut = path.size();
      for (auto left = std::count(tail.begin(), tail.end(), '/'); left > 0; --left) {
        cut = cut == 0 ? std::string_view::npos : path.rfind('/', cut - 1);
        if (cut == std::string_view::npos) return false;
      }
      pattern = tail.substr(1);
      path = path.substr(cut + 1);
      continue;
    }
    const std::string_view got = Segment(path);
    const bool is_last = want.size() == pattern.size();
    if (is_last && !want.empty() && want.back() == '*' && want.front() != ':') {
      const std::string_view prefix = want.substr(0, want.size() - 1);
      return path.substr(0, prefix.size()) == prefix;
    }
    const bool is_parameter = !want.empty() && want.front() == ':';
    if (is_parameter ? got.empty() : want != got) return false;
    if (is_last) return got.size() == path.size();
    if (got.size() == path.size()) return false;
    pattern.remove_prefix(want.size() + 1);
    path.remove_prefix(got.size() + 1);
  }
}

}  // namespace

Result<PathPattern> PathPattern::Make(std::string_view uri, Arena& arena) {
  if (uri.empty() || uri.size() > kMaxSize) {
    return BadPattern(uri, uri.empty() ? "it is empty" : "it is longer than 4096 bytes");
  }
  PathPattern out;
  if (uri == "*") {
    out.kind = Kind::kPrefix;
    out.text = uri;
    return out;
  }
  if (uri.front() != '/') return BadPattern(uri, "it must begin with \"/\"");
  const auto normal = NormalForm(uri, arena);
  if (!normal) return normal.error();
  out.text = *normal;

  size_t key = out.text.size();  // the first byte that is not literal
  bool has_star = false;
  bool has_more = false;  // something but one trailing "*…" is not literal
  for (size_t at = 1; at <= out.text.size();) {
    const std::string_view segment = Segment(out.text.substr(at));
    const bool is_last = at + segment.size() == out.text.size();
    const bool is_parameter = !segment.empty() && segment.front() == ':';
    const size_t star = is_parameter ? std::string_view::npos : segment.find('*');
    if (is_parameter) {
      key = std::min(key, at);
      has_more = true;
    } else if (star != std::string_view::npos) {
      if (has_star) return BadPattern(uri, "only one \"*\" can be used");
      if (star > 0 && !(is_last && star + 1 == segment.size())) {
        return BadPattern(uri, "a \"*\" must begin a segment or end the pattern");
      }
      has_star = true;
      key = std::min(key, at + star);
      has_more = has_more || !is_last;
    }
    at += segment.size() + 1;
  }
  out.key_size = static_cast<uint16_t>(key);
  out.kind = has_more ? Kind::kParameters : has_star ? Kind::kPrefix : Kind::kExact;
  return out;
}

bool PathPattern::Matches(std::string_view path) const {
  if (kind != Kind::kParameters) return true;
  return MatchesSegments(text.substr(key_size), path.substr(key_size));
}

}  // namespace sluice
