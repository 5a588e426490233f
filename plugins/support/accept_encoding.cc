#include "plugins/support/accept_encoding.h"

#include <optional>
#include <string_view>

#include "gateway/base/text.h"

namespace sluice::plugins {
namespace {

// In thousandths: "1", "0.5", "0.123"; 0 for what is no weight.
int ParseWeight(std::string_view text) {
  if (text.empty() || text.size() > 5 || (text[0] != '0' && text[0] != '1')) return 0;
  int weight = text[0] == '1' ? 1000 : 0;
  if (text.size() == 1) return weight;
  if (text[1] != '.') return 0;
  int unit = 100;
  for (const char c : text.substr(2)) {
    if (!IsDigit(c)) return 0;
    weight += (c - '0') * unit;
    unit /= 10;
  }
  return weight > 1000 ? 0 : weight;
}

// Of "gzip;q=0.5": "gzip" and 500.
std::pair<std::string_view, int> ParseMember(std::string_view member) {
  const size_t semicolon = member.find(';');
  const std::string_view coding = TrimOws(member.substr(0, semicolon));
  if (semicolon == std::string_view::npos) return {coding, 1000};
  const std::string_view parameter = TrimOws(member.substr(semicolon + 1));
  if (!EqualsIgnoreCase(parameter.substr(0, 2), "q=")) return {coding, 0};
  return {coding, ParseWeight(parameter.substr(2))};
}

}  // namespace

bool PrefersGzip(const HeaderList& fields) {
  if (!fields.Has(HeaderId::kAcceptEncoding)) return false;
  std::optional<int> gzip;
  std::optional<int> any;
  int identity = 0;
  for (const HeaderField& field : fields) {
    if (field.id != HeaderId::kAcceptEncoding) continue;
    for (const std::string_view member : Split(field.value, ',')) {
      const auto [coding, weight] = ParseMember(member);
      if (EqualsIgnoreCase(coding, "gzip") || EqualsIgnoreCase(coding, "x-gzip")) gzip = weight;
      if (EqualsIgnoreCase(coding, "identity")) identity = weight;
      if (coding == "*") any = weight;
    }
  }
  const int weight = gzip ? *gzip : any.value_or(0);
  return weight > 0 && weight >= identity;
}

}  // namespace sluice::plugins
