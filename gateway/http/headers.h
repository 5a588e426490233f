// Header fields of one message, in order, as views into bytes that somebody else owns (the codec's
// head buffer, an arena, a literal). Well-known names are small integers, so that looking one up is
// an array access and not a string comparison.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "gateway/base/text.h"

namespace sluice {

enum class HeaderId : uint8_t {
  kOther,
  kAccept,
  kAcceptEncoding,
  kAuthorization,
  kConnection,
  kContentEncoding,
  kContentLength,
  kContentType,
  kCookie,
  kDate,
  kExpect,
  kForwarded,
  kHost,
  kHttp2Settings,
  kKeepAlive,
  kMaxForwards,
  kProxy,
  kProxyAuthenticate,
  kProxyAuthorization,
  kProxyConnection,
  kReferer,
  kServer,
  kTe,
  kTrailer,
  kTransferEncoding,
  kUpgrade,
  kUserAgent,
  kVia,
  kXForwardedFor,
  kXForwardedHost,
  kXForwardedPort,
  kXForwardedProto,
  kXRealIp,
  kCount,
};

// The id of a field name in any case; kOther for all names not listed above.
HeaderId FindHeaderId(std::string_view name);

// The name in its usual spelling ("X-Forwarded-For"); empty for kOther.
std::string_view HeaderName(HeaderId id);

struct HeaderField {
  std::string_view name;   // as received
  std::string_view value;  // without surrounding white space
  HeaderId id = HeaderId::kOther;
  bool by_plugin = false;  // stays as it is where we would set a field of that name
};

// Has the field that name, in any case? `id` is FindHeaderId(name).
inline bool IsNamed(const HeaderField& field, std::string_view name, HeaderId id) {
  return field.id == id && (id != HeaderId::kOther || EqualsIgnoreCase(field.name, name));
}

class HeaderList {
 public:
  HeaderList() { Clear(); }

  void Clear() {
    fields_.clear();
    first_.fill(kAbsent);
  }
  void Add(HeaderField field) {
    if (fields_.capacity() == 0) fields_.reserve(kUsualFields);
    auto& first = first_[static_cast<size_t>(field.id)];
    if (first == kAbsent) first = static_cast<uint16_t>(fields_.size());
    fields_.push_back(field);
  }
  void Add(std::string_view name, std::string_view value) {
    Add({name, value, FindHeaderId(name)});
  }

  // In place of all fields of that name.
  void Set(const HeaderField& field);
  void Remove(std::string_view name);  // in any case
  template <typename Predicate>
  void RemoveIf(Predicate predicate) {
    if (std::erase_if(fields_, predicate) != 0) FindFirst();
  }

  size_t size() const { return fields_.size(); }
  bool empty() const { return fields_.empty(); }
  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }
  const HeaderField& operator[](size_t index) const { return fields_[index]; }

  bool Has(HeaderId id) const { return first_[static_cast<size_t>(id)] != kAbsent; }
  // The first field with a well-known name, or null. Precondition: id is not kOther.
  const HeaderField* Find(HeaderId id) const {
    const uint16_t index = first_[static_cast<size_t>(id)];
    return index == kAbsent ? nullptr : &fields_[index];
  }
  // The value of that field; empty when absent.
  std::string_view Value(HeaderId id) const {
    const HeaderField* field = Find(id);
    return field == nullptr ? std::string_view() : field->value;
  }
  // The first field with this name in any case, or null.
  const HeaderField* Find(std::string_view name) const;
  size_t Count(HeaderId id) const;

 private:
  static constexpr uint16_t kAbsent = 0xffff;
  static constexpr size_t kUsualFields = 16;

  void FindFirst();
  void RemoveAfter(size_t index, std::string_view name, HeaderId id);

  std::vector<HeaderField> fields_;
  std::array<uint16_t, static_cast<size_t>(HeaderId::kCount)> first_;
};

}  // namespace sluice
