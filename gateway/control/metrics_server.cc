#include "gateway/control/metrics_server.h"

#include <utility>

namespace sluice {
namespace {

constexpr std::string_view kTextType = "text/plain; charset=utf-8";
constexpr std::string_view kPageType = "text/plain; version=0.0.4; charset=utf-8";

LocalHttpServer::Reply TextReply(int status, const char* text) {
  return {.status = status,
          .content_type = kTextType,
          .body = std::make_shared<const std::string>(text)};
}

}  // namespace

MetricsServer::MetricsServer(Loop& loop, UniqueFd socket, std::function<MetricsSources()> sources)
    : loop_(loop),
      sources_(std::move(sources)),
      server_(loop, std::move(socket),
              [this](uint64_t id, const RequestHead& head) { OnRequest(id, head); }) {}

MetricsServer::~MetricsServer() = default;

void MetricsServer::OnRequest(uint64_t id, const RequestHead& head) {
  if (head.path != "/metrics" && head.path != "/apisix/prometheus/metrics") {
    return server_.Send(id, TextReply(404, "expected /metrics or /apisix/prometheus/metrics\n"));
  }
  if (head.method != Method::kGet && head.method != Method::kHead) {
    LocalHttpServer::Reply reply = TextReply(405, "expected GET or HEAD\n");
    reply.allow = "GET, HEAD";
    return server_.Send(id, std::move(reply));
  }
  waiting_next_.push_back(id);
  if (waiting_.empty()) MakePage();
}

void MetricsServer::MakePage() {
  waiting_ = std::exchange(waiting_next_, {});
  if (waiting_.empty()) return;
  struct Work {
    MetricsSources sources;
    std::shared_ptr<const std::string> page;
  };
  auto work = std::make_shared<Work>(Work{sources_(), nullptr});
  const std::weak_ptr<bool> alive = alive_;
  loop_.RunOffLoop(
      [work] {
        work->page = std::make_shared<const std::string>(MakeMetricsPage(work->sources));
        work->sources = {};
      },
      [this, work, alive] {
        if (alive.lock() != nullptr) OnPage(work->page);
      });
}

void MetricsServer::OnPage(const std::shared_ptr<const std::string>& page) {
  for (const uint64_t id : waiting_) {
    server_.Send(id, {.status = 200, .content_type = kPageType, .body = page});
  }
  waiting_.clear();
  MakePage();
}

}  // namespace sluice
