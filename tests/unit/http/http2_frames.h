// HTTP/2 frames by hand, for tests of the codec: what a well-behaved library refuses to write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::frames {

enum Type : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kRstStream = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kGoaway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};
enum Flag : uint8_t {
  kNone = 0,
  kAck = 1,
  kEndStream = 1,
  kEndHeaders = 4,
  kPadded = 8,
};

using Fields = std::vector<std::pair<std::string, std::string>>;

inline std::string Number(uint64_t value, int bytes) {
  std::string out;
  for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>((value >> (8 * i)) & 0xff);
  return out;
}

inline std::string Frame(uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload) {
  return Number(payload.size(), 3) + static_cast<char>(type) + static_cast<char>(flags) +
         Number(stream, 4) + std::string(payload);
}

// RFC 7541 5.1 with a prefix of 7 bits, 5.2 without Huffman.
inline std::string Literal(std::string_view text) {
  std::string out;
  size_t size = text.size();
  if (size < 127) {
    out += static_cast<char>(size);
  } else {
    out += '\x7f';
    for (size -= 127; size >= 128; size >>= 7) out += static_cast<char>((size & 127) | 128);
    out += static_cast<char>(size);
  }
  return out + std::string(text);
}

// RFC 7541 6.2.2: literals that do not touch the table.
inline std::string Block(const Fields& fields) {
  std::string out;
  for (const auto& [name, value] : fields) out += '\0' + Literal(name) + Literal(value);
  return out;
}

inline std::string Headers(uint32_t stream, const Fields& fields,
                           uint8_t flags = kEndHeaders | kEndStream) {
  return Frame(kHeaders, flags, stream, Block(fields));
}
inline std::string Data(uint32_t stream, std::string_view bytes, uint8_t flags = kNone) {
  return Frame(kData, flags, stream, bytes);
}
inline std::string Rst(uint32_t stream, uint32_t code) {
  return Frame(kRstStream, 0, stream, Number(code, 4));
}
inline std::string Window(uint32_t stream, uint32_t increment) {
  return Frame(kWindowUpdate, 0, stream, Number(increment, 4));
}
inline std::string Settings(std::initializer_list<std::pair<int, uint32_t>> values = {}) {
  std::string payload;
  for (const auto& [id, value] : values) {
    payload += Number(static_cast<uint64_t>(id), 2) + Number(value, 4);
  }
  return Frame(kSettings, 0, 0, payload);
}
inline std::string Ping(std::string_view payload = "12345678") {
  return Frame(kPing, 0, 0, payload);
}

inline Fields Get(std::string path = "/", const Fields& more = {}) {
  Fields fields{{":method", "GET"},
                {":scheme", "http"},
                {":path", std::move(path)},
                {":authority", "a.test"}};
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}
inline Fields Post(const Fields& more = {}) {
  Fields fields{{":method", "POST"}, {":scheme", "http"}, {":path", "/"}, {":authority", "a.test"}};
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

struct Parsed {
  uint8_t type;
  uint8_t flags;
  uint32_t stream;
  std::string payload;

  uint32_t Code(size_t offset = 0) const {
    uint32_t value = 0;
    for (size_t i = offset; i < offset + 4 && i < payload.size(); ++i) {
      value = (value << 8) | static_cast<uint8_t>(payload[i]);
    }
    return value;
  }
};

inline std::vector<Parsed> Parse(std::string_view bytes) {
  std::vector<Parsed> out;
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  while (bytes.size() >= 9) {
    const size_t size = (size_t{byte(0)} << 16) | (size_t{byte(1)} << 8) | byte(2);
    if (bytes.size() < 9 + size) break;
    const uint32_t stream =
        (uint32_t{byte(5)} << 24) | (uint32_t{byte(6)} << 16) | (uint32_t{byte(7)} << 8) | byte(8);
    out.push_back({byte(3), byte(4), stream & 0x7fffffff, std::string(bytes.substr(9, size))});
    bytes.remove_prefix(9 + size);
  }
  return out;
}

}  // namespace sluice::frames
