#include <algorithm>

#include "conf/decode.h"
#include "gateway/base/text.h"

namespace sluice::conf {
namespace {

bool IsAlnum(char c) {
  const char lower = AsciiLower(c);
  return IsDigit(c) || (lower >= 'a' && lower <= 'z');
}

bool IsLabel(std::string_view label) {
  if (label.empty() || label.size() > 63) return false;
  return std::all_of(label.begin(), label.end(),
                     [](char c) { return IsAlnum(c) || c == '-' || c == '_'; });
}

}  // namespace

bool IsIdText(std::string_view text) {
  if (text.empty() || text.size() > 64) return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return IsAlnum(c) || c == '-' || c == '_' || c == '.'; });
}

bool IsHostName(std::string_view text) {
  if (text.empty() || text.size() > 253) return false;
  const std::vector<std::string_view> labels = Split(text, '.');
  if (!std::all_of(labels.begin(), labels.end(), IsLabel)) return false;
  return !std::all_of(labels.back().begin(), labels.back().end(), IsDigit);
}

std::optional<std::string> Id::operator()(const Place& place) const {
  const Node& node = place.node;
  if (node.is_string() && IsIdText(node.text)) return node.text;
  if (node.kind == Node::Kind::kInteger && node.integer >= 1) return std::to_string(node.integer);
  return place.Expected("1 to 64 letters, digits, '-', '_', '.' or an integer from 1");
}

std::optional<std::string> HostPattern::operator()(const Place& place) const {
  constexpr std::string_view kExpected =
      "a host name, an IP address, a wildcard such as *.example.com, or *";
  const Node& node = place.node;
  if (!node.is_string()) return place.Expected(kExpected);
  const std::string host = ToLower(node.text);
  std::string_view name = host;
  const auto ip = IpAddress::Parse(name);
  // The host of a request keeps the brackets of an IPv6 address.
  if (ip) return name.find(':') == std::string_view::npos ? host : "[" + host + "]";
  if (name == "*") return host;
  if (name.starts_with("*.")) name.remove_prefix(2);
  if (IsHostName(name)) return host;
  const bool bracketed = name.starts_with('[') && name.ends_with(']');
  if (bracketed && IpAddress::Parse(name.substr(1, name.size() - 2))) return host;
  const size_t colon = name.rfind(':');
  const bool port = colon != std::string_view::npos && ParseDecimal(name.substr(colon + 1));
  return place.Expected(kExpected, port ? "leave out the port: it is not compared" : "");
}

std::optional<bool> Labels::operator()(const Place& place) const {
  if (!place.node.is_map()) return place.Expected("a map of texts");
  for (const Entry& entry : place.node.entries) {
    const Place value = place.Of(entry);
    const auto text = Text{1, 256}(value);
    if (text && text->find(' ') != std::string::npos) value.Expected("text without spaces");
  }
  return true;
}

std::optional<Cidr> AddressRange::operator()(const Place& place) const {
  constexpr std::string_view kExpected = "an IP address or a range such as 10.0.0.0/8";
  if (!place.node.is_string()) return place.Expected(kExpected);
  auto range = Cidr::Make(place.node.text);
  if (!range) return place.Expected(kExpected);
  return *std::move(range);
}

std::optional<UpstreamTimeouts> Timeouts::operator()(const Place& place) const {
  using T = UpstreamTimeouts;
  static const Fields<T> kFields = {
      Required(Bind("connect", &T::connect, Seconds{})),
      Required(Bind("send", &T::send, Seconds{})),
      Required(Bind("read", &T::read, Seconds{})),
      Bind("total", &T::total, Seconds{}),
  };
  return Record<T>{kFields}(place);
}

}  // namespace sluice::conf
