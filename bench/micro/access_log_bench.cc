// The cost of one access log line: formatting alone, and with the hand-over to the writer thread.
#include <string>

#include <benchmark/benchmark.h>
#include <fcntl.h>

#include "gateway/observe/access_log.h"

namespace sluice {
namespace {

struct Sample {
  Sample() {
    head.method = Method::kGet;
    head.method_text = "GET";
    head.target = "/api/v1/orders/12345?expand=items";
    head.path = "/api/v1/orders/12345";
    head.authority = "shop.example:9080";
    head.fields.Add("Host", "shop.example:9080");
    head.fields.Add("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101");
    head.fields.Add("Referer", "https://shop.example/cart");
    view.head = &head;
    view.host = "shop.example";
    view.path = head.path;
    view.client_ip = *IpAddress::Parse("203.0.113.9");
    record.request = &view;
    record.status = 200;
    record.bytes_in = 420;
    record.bytes_out = 10'345;
    record.body_bytes_out = 10'000;
    record.route_id = "orders";
    record.upstream_key = "upstream:1";
    record.node = "127.0.0.1:1980";
    record.upstream_status = 200;
    record.attempts = 1;
    record.total = microseconds(12345);
    record.ttfb = record.upstream = microseconds(9999);
  }

  RequestHead head;
  RequestView view;
  AccessRecord record;
};

void FormatLine(benchmark::State& state, const char* format_text) {
  const AccessLogFormat format = *AccessLogFormat::Make(format_text);
  const Sample sample;
  std::string out;
  WallTime now = WallNow();
  for (auto _ : state) {
    out.clear();
    now += microseconds(20);  // 50,000 lines a second
    format.Append(out, sample.record, now);
    benchmark::DoNotOptimize(out.data());
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * out.size()));
}
BENCHMARK_CAPTURE(FormatLine, combined, "combined");
BENCHMARK_CAPTURE(FormatLine, json, "json");
BENCHMARK_CAPTURE(FormatLine, variables, "$remote_addr $request_uri $status $request_time");

// CPU time is that of the loop's thread.
void WriteLine(benchmark::State& state) {
  AccessLog log(open("/dev/null", O_WRONLY | O_CLOEXEC), *AccessLogFormat::Make("combined"));
  const Sample sample;
  WallTime now = WallNow();
  int64_t lines = 0;
  for (auto _ : state) {
    now += microseconds(20);
    log.Write(sample.record, now);
    if (++lines % 4 == 0) log.Flush();  // a loop turn
  }
  state.counters["dropped"] = static_cast<double>(log.dropped());
}
BENCHMARK(WriteLine);

}  // namespace
}  // namespace sluice
