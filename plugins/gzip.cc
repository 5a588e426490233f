#include "plugins/gzip.h"

#include <algorithm>

#include "gateway/base/log.h"
#include "gateway/base/text.h"
#include "gateway/plugin/registration.h"
#include "plugins/support/accept_encoding.h"
#include "plugins/support/changed_body.h"
#include "plugins/support/vary.h"

namespace sluice::plugins {

SLUICE_PLUGIN(Gzip);

namespace {

// A list, or "*" for all.
struct MediaTypes {
  std::optional<std::vector<std::string>> operator()(const conf::Place& place) const {
    if (place.node.is_string() && place.node.text == "*") return std::vector<std::string>{"*"};
    if (!place.node.is_list()) return place.Expected("a list of media types, or \"*\"");
    return kList(place);
  }
  conf::TypeSchema Schema() const {
    return {R"("anyOf":[{)" + kList.Schema().json + R"(},{"enum":["*"]}])",
            "a list of media types, or `*`",
            {}};
  }
  std::string ValueJson(const std::vector<std::string>&) const { return R"(["text/html"])"; }

  static constexpr conf::ListOf<conf::Text> kList{{1, 256}, 1, false, 1000};
};

struct LeastVersion {
  std::optional<HttpVersion> operator()(const conf::Place& place) const {
    const conf::Node& node = place.node;
    const bool is_number =
        node.kind == conf::Node::Kind::kNumber || node.kind == conf::Node::Kind::kInteger;
    if (is_number && node.number == 1.1) return HttpVersion::kHttp11;
    if (is_number && node.number == 1.0) return HttpVersion::kHttp10;
    return place.Expected("1.1 or 1.0");
  }
  conf::TypeSchema Schema() const { return {"\"enum\":[1.1,1]", "1.1 or 1.0", {}}; }
  std::string ValueJson(HttpVersion) const { return "1.1"; }
};

const conf::Fields<Gzip::Buffers>& BufferFields() {
  using T = Gzip::Buffers;
  static const conf::Fields<T> kFields = {
      conf::Declare("number", &T::number, conf::Integer<uint64_t>{1, 1'000'000},
                    "How many there may be. One is enough here: it is sent when it is full."),
      conf::Declare("size", &T::size, conf::Integer<uint64_t>{1, 1024 * 1024},
                    "Bytes of compressed output that are collected before they are sent."),
  };
  return kFields;
}

std::optional<uint64_t> LengthOf(const ResponseHead& head) {
  if (head.body.kind == BodyFraming::Kind::kLength) return head.body.length;
  return ParseDecimal(head.fields.Value(HeaderId::kContentLength));  // to HEAD
}

bool HasBody(RequestContext& request, const ResponseHead& head) {
  return request.view().method() == Method::kHead || head.body.has_body();
}

bool ForbidsTransformation(const HeaderList& fields) {
  return std::any_of(fields.begin(), fields.end(), [](const HeaderField& field) {
    return EqualsIgnoreCase(field.name, "Cache-Control") &&
           ListContains(field.value, "no-transform");
  });
}

// The bytes are others now, the meaning is the same (RFC 9110 8.8.1).
void WeakenETag(ResponseContext& response) {
  const std::string_view tag = response.Header("ETag");
  if (tag.empty() || tag.starts_with("W/")) return;
  if (tag.starts_with('"')) return response.SetHeader("ETag", "W/" + std::string(tag));
  response.RemoveHeader("ETag");
}

}  // namespace

const conf::Fields<Gzip::Config>& Gzip::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = {
      conf::Declare("types", &T::types, MediaTypes{},
                    "Media types that are compressed; `*`: all but gRPC's. A response without "
                    "Content-Type is not."),
      conf::Declare("min_length", &T::min_length, conf::Integer<uint64_t>{1, int64_t{1} << 40},
                    "Bytes from which it is worth it, where the length is known."),
      conf::Declare("comp_level", &T::comp_level, conf::Integer<int>{1, 9},
                    "1 is fastest, 9 smallest."),
      conf::Declare("http_version", &T::http_version, LeastVersion{},
                    "Clients of older versions of HTTP get the response as it is."),
      conf::Declare("buffers", &T::buffers, conf::Record<Buffers>{BufferFields()}, "For output."),
      conf::Declare("vary", &T::vary, conf::Boolean{},
                    "Adds `Vary: Accept-Encoding`, which caches need."),
  };
  return kFields;
}

Gzip::Gzip(Config config)
    : config_(std::move(config)),
      all_types_(std::find(config_.types.begin(), config_.types.end(), "*") !=
                 config_.types.end()) {}

bool Gzip::HasType(std::string_view content_type) const {
  const std::string_view type = TrimOws(content_type.substr(0, content_type.find(';')));
  // The messages of gRPC have compression of their own, and trailers count on their framing.
  if (type.empty() || EqualsIgnoreCase(type.substr(0, 16), "application/grpc")) return false;
  return all_types_ ||
         std::any_of(config_.types.begin(), config_.types.end(),
                     [type](const std::string& each) { return EqualsIgnoreCase(each, type); });
}

// Whatever the client takes: that decides about Vary.
bool Gzip::IsEligible(RequestContext& request, const ResponseContext& response) const {
  const ResponseHead& head = response.head();
  if (head.status != 200 && head.status != 403 && head.status != 404) return false;
  if (request.head().version < config_.http_version || !HasBody(request, head)) return false;
  if (const auto length = LengthOf(head); length && *length < config_.min_length) return false;
  return !head.fields.Has(HeaderId::kContentEncoding) && response.Header("Content-Range").empty() &&
         !ForbidsTransformation(head.fields) && HasType(head.fields.Value(HeaderId::kContentType));
}

Verdict Gzip::OnHeaderFilter(RequestContext& request, ResponseContext& response) const {
  if (!IsEligible(request, response)) return Verdict::kContinue;
  if (config_.vary) AddVary(response, "Accept-Encoding");
  if (!PrefersGzip(request.head().fields)) return Verdict::kContinue;
  if (request.view().method() != Method::kHead) {
    const BodyFraming& body = response.head().body;
    const bool knows_length = body.kind == BodyFraming::Kind::kLength;
    Work& work = request.State<Work>();
    work.streams = !knows_length;
    work.stream = GzipStream::Make(config_.comp_level,
                                   knows_length ? std::optional(body.length) : std::nullopt);
    if (work.stream == nullptr) return request.Fail("no memory to compress the response");
  }
  response.SetHeader("Content-Encoding", "gzip");
  RemoveByteFields(response);
  WeakenETag(response);
  response.ChangeBody();
  return Verdict::kContinue;
}

void Gzip::OnBodyFilter(RequestContext& request, BodyPiece& piece) const {
  Work& work = request.State<Work>();
  auto flush = GzipStream::Flush::kNone;
  if (piece.is_last()) {
    flush = GzipStream::Flush::kEnd;
  } else if (piece.bytes().empty()) {
    return;
  } else if (work.streams) {
    flush = GzipStream::Flush::kSync;
  }
  work.stream->Add(piece.bytes(), flush, work.out);
  if (flush == GzipStream::Flush::kNone && work.out.size() < config_.buffers.size) {
    return piece.Clear();
  }
  piece.Set(std::exchange(work.out, {}));
}

}  // namespace sluice::plugins
