#include "plugins/http_logger.h"

#include <utility>

#include "gateway/plugin/registration.h"
#include "gateway/plugin/sub_request.h"
#include "plugins/support/service_url.h"

namespace sluice::plugins {

SLUICE_PLUGIN(HttpLogger);

using conf::Declare;

class HttpLogger::Batch final : public LogBatch {
 public:
  Batch(std::string name, const LogBatchRules& rules, const Config& config, SubRequest request)
      : LogBatch(std::move(name), rules),
        concat_(config.concat_method),
        uri_(config.uri),
        request_(std::move(request)) {}

  // A request's configuration has the upstream. It is let go when nothing is left to send: it
  // holds the plugin, which holds this.
  void SetSender(RequestContext& request) {
    if (sender_ == nullptr) sender_ = request.sender();
  }

 protected:
  void Deliver(PluginServices& /*services*/, const Lines& lines, Done done) override {
    SubRequest request = request_;
    const bool json = concat_ == Concat::kJson;
    if (json && lines.size() > 1) request.body = "[";
    for (const std::string& line : lines) {
      if (&line != &lines.front()) request.body += json ? ',' : '\n';
      request.body += line;
    }
    if (json && lines.size() > 1) request.body += ']';
    sender_->Send(std::move(request), [uri = uri_, done = std::move(done)](const auto& answer) {
      if (!answer.has_value()) return done(Error(answer.error()));
      if (answer->status < 400) return done({});
      done(GatewayError(ErrorCode::kPluginFailed,
                        uri + " answered " + std::to_string(answer->status)));
    });
  }

  void OnIdle() override { sender_.reset(); }

 private:
  const Concat concat_;
  const std::string uri_;
  const SubRequest request_;
  std::shared_ptr<SubRequestSender> sender_;
};

const conf::Fields<HttpLogger::Config>& HttpLogger::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = [] {
    conf::Fields<T> fields = {
        conf::Required(Declare("uri", &T::uri, ServiceUrlText(), "The service.")),
        Declare("auth_header", &T::auth_header, conf::Text{1, 4096}, "Authorization for it."),
        Declare("timeout", &T::timeout, conf::Integer<int>{1, 3600},
                "How long its answer may take, in seconds."),
        Declare("ssl_verify", &T::ssl_verify, conf::Boolean{},
                "Its certificate is verified against the system's authorities."),
        Declare("concat_method", &T::concat_method,
                conf::Choice<Concat>{{{"json", Concat::kJson}, {"new_line", Concat::kNewLine}}},
                "Several lines are a JSON list, or stand below each other."),
        Declare("name", &T::name, conf::Text{1, 256}, "Its name in our log."),
        Declare("batch_max_size", &T::batch_max_size, conf::Integer<int>{1, 100'000},
                "Lines of a batch."),
        Declare("inactive_timeout", &T::inactive_timeout, conf::Integer<int>{1, 86'400},
                "A batch goes when no line has come for so many seconds,"),
        Declare("buffer_duration", &T::buffer_duration, conf::Integer<int>{1, 86'400},
                "and when its first line is so many seconds old."),
        Declare("max_retry_count", &T::max_retry_count, conf::Integer<int>{0, 1000},
                "How often a batch that failed is sent again before it is dropped."),
        Declare("retry_delay", &T::retry_delay, conf::Integer<int>{0, 86'400},
                "After so many seconds."),
    };
    AddLoggerFields(fields);
    return fields;
  }();
  return kFields;
}

const conf::Fields<HttpLogger::Metadata>& HttpLogger::MetadataFields() {
  using T = Metadata;
  static const conf::Fields<T> kFields = [] {
    conf::Fields<T> fields = {
        Declare("max_pending_entries", &T::max_pending_entries, conf::Integer<int>{1, 10'000'000},
                "Lines that may wait in a worker; more are dropped and counted."),
    };
    AddLoggerMetadataFields(fields);
    return fields;
  }();
  return kFields;
}

void HttpLogger::FindUpstreams(const conf::Place& plugin, conf::UpstreamSink& sink) {
  AddServiceUpstream<HttpLogger>(plugin, sink, "uri",
                                 [](const Config& config, conf::UpstreamConfig& upstream) {
                                   upstream.tls.verify = config.ssl_verify;
                                 });
}

std::unique_ptr<const Plugin> HttpLogger::Make(const Config& config, const PluginBuild& build) {
  const auto url = ServiceUrl::Make(config.uri);
  if (!url.has_value()) return nullptr;  // was said when the field was read
  const Metadata metadata = ReadMetadata<HttpLogger>(build);
  SubRequest request;
  request.upstream = build.UpstreamAt(*build.place.node.Find("uri"));
  request.method = "POST";
  request.target = url->target;
  request.host = url->authority;
  request.limit = seconds(config.timeout);
  const bool lines = config.concat_method == Concat::kNewLine;
  request.fields.emplace_back("Content-Type", lines ? "text/plain" : "application/json");
  if (!config.auth_header.empty()) request.fields.emplace_back("Authorization", config.auth_header);
  const LogBatchRules rules{.most_lines = static_cast<size_t>(config.batch_max_size),
                            .inactive = seconds(config.inactive_timeout),
                            .longest = seconds(config.buffer_duration),
                            .retries = static_cast<uint32_t>(config.max_retry_count),
                            .retry_delay = seconds(config.retry_delay),
                            .most_waiting = static_cast<size_t>(metadata.max_pending_entries)};
  auto batch = std::make_shared<Batch>(std::string(build.owner) + " " + config.name, rules, config,
                                       std::move(request));
  return std::make_unique<HttpLogger>(Logger(config, metadata, build), std::move(batch));
}

HttpLogger::HttpLogger(Logger logger, std::shared_ptr<Batch> batch)
    : logger_(std::move(logger)), batch_(std::move(batch)) {}

Verdict HttpLogger::OnHeaderFilter(RequestContext& request, ResponseContext& response) const {
  logger_.Watch(request, response);
  return Verdict::kContinue;
}

void HttpLogger::OnBodyFilter(RequestContext& request, BodyPiece& piece) const {
  logger_.Copy(request, piece);
}

void HttpLogger::OnLog(RequestContext& request, const AccessRecord& record) const {
  if (!logger_.Wants(request)) return;
  batch_->SetSender(request);
  batch_->Add(request.services(), logger_.Line(request, record));
}

}  // namespace sluice::plugins
