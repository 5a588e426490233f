// What HTTP/1 costs per message: a request head from bytes to a checked RequestHead, a response
// head, and the two look-ups that each request makes.
#include <string>
#include <string_view>

#include <benchmark/benchmark.h>

#include "gateway/base/result.h"
#include "gateway/http/http1_codec.h"
#include "gateway/http/uri.h"

namespace sluice {
namespace {

const std::string kSmall =
    "GET /hello/world?x=1 HTTP/1.1\r\n"
    "Host: www.example.com\r\n"
    "User-Agent: curl/7.88.1\r\n"
    "Accept: */*\r\n"
    "Accept-Encoding: gzip\r\n"
    "X-Request-Id: 0123456789abcdef\r\n"
    "Connection: keep-alive\r\n\r\n";

const std::string kBrowser =
    "GET /static/js/application/vendor.bundle.min.js?v=20240607 HTTP/1.1\r\n"
    "Host: www.example.com\r\n"
    "Connection: keep-alive\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/124.0.0.0 Safari/537.36\r\n"
    "Accept: "
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    "Referer: https://www.example.com/products/category/overview/page/12\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Accept-Language: en-GB,en;q=0.9,de-DE;q=0.8,de;q=0.7\r\n"
    "Cookie: session=0123456789abcdef0123456789abcdef0123456789abcdef; theme=dark; "
    "consent=analytics%3D1%26marketing%3D0; last=%2Fproducts%2Foverview\r\n"
    "If-None-Match: \"5f3c-60a1b2c3d4e5f\"\r\n\r\n";

const std::string kResponse =
    "HTTP/1.1 200 OK\r\n"
    "Server: nginx\r\n"
    "Date: Fri, 07 Jun 2024 10:00:00 GMT\r\n"
    "Content-Type: application/json\r\n"
    "Content-Length: 0\r\n"
    "Connection: keep-alive\r\n\r\n";

void DecodeMessage(benchmark::State& state, Http1Decoder::Role role, const std::string& bytes,
                   size_t piece) {
  const CodecLimits limits;
  Http1Decoder decoder(role, limits);
  for (auto _ : state) {
    decoder.StartMessage();
    CodecEvent event = CodecEvent::kNeedMore;
    for (size_t at = 0; at < bytes.size(); at += piece) {
      std::string_view input = std::string_view(bytes).substr(at, piece);
      event = decoder.Next(input);
    }
    SLUICE_CHECK(event == CodecEvent::kHead);
    std::string_view nothing;
    benchmark::DoNotOptimize(decoder.Next(nothing));
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes.size()));
  state.counters["bytes"] = static_cast<double>(bytes.size());
}

constexpr size_t kWhole = 1 << 20;
BENCHMARK_CAPTURE(DecodeMessage, small_request, Http1Decoder::Role::kServer, kSmall, kWhole);
BENCHMARK_CAPTURE(DecodeMessage, browser_request, Http1Decoder::Role::kServer, kBrowser, kWhole);
BENCHMARK_CAPTURE(DecodeMessage, response, Http1Decoder::Role::kClient, kResponse, kWhole);
BENCHMARK_CAPTURE(DecodeMessage, small_request_by_bytes, Http1Decoder::Role::kServer, kSmall, 1);

void Normalize(benchmark::State& state, std::string_view path) {
  Arena arena;
  for (auto _ : state) {
    arena.Reset();
    benchmark::DoNotOptimize(NormalizePath(path, arena));
  }
}
BENCHMARK_CAPTURE(Normalize, normal_path, "/static/js/application/vendor.bundle.min.js");
BENCHMARK_CAPTURE(Normalize, escaped_path, "/static/%6as/../js/application//vendor.min.js");

void FindName(benchmark::State& state, std::string_view name) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(name);
    benchmark::DoNotOptimize(FindHeaderId(name));
  }
}
BENCHMARK_CAPTURE(FindName, known_name, "X-Forwarded-Proto");
BENCHMARK_CAPTURE(FindName, other_name, "X-Request-Id");

}  // namespace
}  // namespace sluice
