#include "gateway/net/websocket_accept.h"

#include <array>

#include <openssl/evp.h>

#include "gateway/base/result.h"

namespace sluice {

std::string WebSocketAccept(std::string_view key) {
  constexpr std::string_view kGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  constexpr size_t kDigestSize = 20;
  constexpr size_t kTextSize = 28;
  const std::string input = std::string(key) + std::string(kGuid);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  size_t size = 0;
  const int done =
      EVP_Q_digest(nullptr, "SHA1", nullptr, input.data(), input.size(), digest.data(), &size);
  SLUICE_CHECK(done == 1 && size == kDigestSize);
  std::array<unsigned char, kTextSize + 1> text{};  // and the zero that OpenSSL writes
  EVP_EncodeBlock(text.data(), digest.data(), kDigestSize);
  return {text.begin(), text.end() - 1};
}

}  // namespace sluice
