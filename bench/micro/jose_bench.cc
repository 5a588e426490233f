// What a token costs: taken apart, verified by each algorithm, and found among those verified. The
// token is of the size that issuers send: five claims, 270 bytes.
#include <string>

#include <benchmark/benchmark.h>

#include "plugins/support/verified_tokens.h"
#include "tests/unit/plugins/token_signer.h"

namespace sluice::plugins {
namespace {

constexpr std::string_view kClaims =
    R"({"iss":"https://issuer.example.com/","aud":"api","key":"user-4711",)"
    R"("iat":1800000000,"exp":1800003600,"scope":"orders:read orders:write"})";

void Parse(benchmark::State& state) {
  const std::string token = TokenSigner("HS256").Token(kClaims);
  Jwt jwt;
  for (auto _ : state) benchmark::DoNotOptimize(jwt.Parse(token).has_value());
  state.counters["bytes"] = static_cast<double>(token.size());
}
BENCHMARK(Parse);

void Check(benchmark::State& state) {
  const std::string token = TokenSigner("HS256").Token(kClaims);
  Jwt jwt;
  Must(jwt.Parse(token).has_value());
  const WallTime now(seconds(1'800'000'001));
  for (auto _ : state) benchmark::DoNotOptimize(CheckClaims(jwt.claims(), {}, now).has_value());
}
BENCHMARK(Check);

void Verify(benchmark::State& state, const char* algorithm) {
  const TokenSigner signer(algorithm);
  const std::string token = signer.Token(kClaims);
  const JwsKey key = signer.Key();
  Jwt jwt;
  Must(jwt.Parse(token).has_value());
  for (auto _ : state) Must(key.Verify(jwt).has_value());
}
BENCHMARK_CAPTURE(Verify, HS256, "HS256");
BENCHMARK_CAPTURE(Verify, HS512, "HS512");
BENCHMARK_CAPTURE(Verify, RS256, "RS256");
BENCHMARK_CAPTURE(Verify, PS256, "PS256");
BENCHMARK_CAPTURE(Verify, ES256, "ES256");
BENCHMARK_CAPTURE(Verify, ES384, "ES384");
BENCHMARK_CAPTURE(Verify, ES512, "ES512");
BENCHMARK_CAPTURE(Verify, EdDSA, "EdDSA");

void Known(benchmark::State& state) {
  const std::string token = TokenSigner("HS256").Token(kClaims);
  VerifiedTokens tokens(8192);
  const Hash128 keys{1, 2};
  tokens.Insert(VerifiedTokens::NameOf(token, keys), {.proof = 1, .from = 0, .until = 2});
  for (auto _ : state) {
    benchmark::DoNotOptimize(tokens.Find(VerifiedTokens::NameOf(token, keys), 1));
  }
}
BENCHMARK(Known);

}  // namespace
}  // namespace sluice::plugins
