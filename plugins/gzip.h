// gzip: compresses responses for clients that take it. APISIX's fields, nginx's conditions.
//
//   header_filter  is it worth it, and may it be? ─ no ─► untouched
//        │ yes: Content-Encoding, a weak ETag, no length
//   body_filter    each piece through one stream, behind all other plugins
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/plugin/plugin.h"
#include "plugins/support/gzip_stream.h"

namespace sluice::plugins {

class Gzip final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "gzip",
      .priority = 995,
      .summary = "Compresses responses for clients that accept gzip.",
      .example = R"yaml(types: [text/html, text/css, application/json, application/javascript]
min_length: 256
comp_level: 3
vary: true)yaml",
      .on_failure = FailureMode::kOpen,
      .encodes = true};

  struct Buffers {
    uint64_t number = 32;
    uint64_t size = 4096;
  };
  struct Config {
    std::vector<std::string> types = {"text/html"};
    uint64_t min_length = 20;
    int comp_level = 1;
    HttpVersion http_version = HttpVersion::kHttp11;
    Buffers buffers;
    bool vary = false;
  };
  static const conf::Fields<Config>& Fields();

  explicit Gzip(Config config);

  Verdict OnHeaderFilter(RequestContext& request, ResponseContext& response) const override;
  void OnBodyFilter(RequestContext& request, BodyPiece& piece) const override;

 private:
  // Of one response.
  struct Work {
    std::unique_ptr<GzipStream> stream;
    std::string out;       // until there is as much as buffers.size
    bool streams = false;  // its length is not known: what comes is wanted at once
  };

  bool IsEligible(RequestContext& request, const ResponseContext& response) const;
  bool HasType(std::string_view content_type) const;

  const Config config_;
  const bool all_types_;
};

}  // namespace sluice::plugins
