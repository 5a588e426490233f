#include "gateway/http/http2_codec.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "gateway/http/hygiene.h"
#include "tests/unit/http/http2_frames.h"

namespace sluice {
namespace {

using frames::Fields;
using frames::Get;
using frames::Headers;
using frames::Parsed;
using frames::Post;
using Kind = Http2Event::Kind;

const std::string kPreface(Http2Codec::kPreface);

std::string Show(const HeaderList& fields) {
  std::string out;
  for (const HeaderField& field : fields) {
    out.append(" ").append(field.name).append("=").append(field.value);
  }
  return out;
}

std::string Describe(const Http2Event& event, Http2Codec::Role role) {
  const std::string id = event.stream == nullptr ? "" : std::to_string(event.stream->id());
  switch (event.kind) {
    case Kind::kHead:
      if (role == Http2Codec::Role::kServer) {
        const RequestHead& head = event.stream->request();
        return "head " + id + " " + std::string(head.method_text) + " " +
               std::string(head.authority) + " " + std::string(head.target) + Show(head.fields);
      }
      return "head " + id + " " + std::to_string(event.stream->response().status) +
             Show(event.stream->response().fields);
    case Kind::kInformational:
      return "informational " + id + " " + std::to_string(event.informational->status) +
             Show(event.informational->fields);
    case Kind::kRefused:
      return "refused " + id + " " + std::string(ReasonName(event.stream->error().code));
    case Kind::kMalformed:
      return "malformed " + id + " " + std::string(ReasonName(event.stream->error().code)) +
             (event.stream->error().detail.empty() ? " without a detail" : "");
    case Kind::kData:
      return "data " + id + " " + std::string(event.data);
    case Kind::kEnd:
      return "end " + id + Show(event.stream->trailers());
    case Kind::kBlocked:
      return "blocked " + id;
    case Kind::kWritable:
      return "writable " + id;
    case Kind::kClosed:
      return "closed " + id + " " + std::to_string(static_cast<uint32_t>(event.code));
    case Kind::kGoaway:
      return "goaway " + std::to_string(static_cast<uint32_t>(event.code));
    case Kind::kPong:
      return "pong";
  }
  return {};
}

// A codec with an owner that writes down what it is told.
class Side {
 public:
  explicit Side(Http2Codec::Role role, const Http2Limits& limits = {},
                const CodecLimits& codec_limits = {})
      : role_(role),
        limits_(limits),
        codec_limits_(codec_limits),
        codec_(std::make_unique<Http2Codec>(role, codec_limits_, limits_, pool_)) {}

  void Receive(std::string_view bytes) {
    const std::string copy(bytes);  // on the heap: a read past its end is found
    std::string_view input = copy;
    while (!input.empty()) {
      codec_->Receive(input, now_);
      TakeEvents();
    }
  }

  std::string Output(size_t limit = 1 << 20) {
    std::string out;
    for (const std::string_view piece : codec_->Pull(scratch_, limit)) out += piece;
    codec_->KeepLent();
    TakeEvents();
    scratch_.Reset();
    return out;
  }

  std::vector<std::string> Events() { return std::exchange(events_, {}); }
  Http2Stream* stream(int32_t id) {
    const auto found = std::find_if(streams_.begin(), streams_.end(),
                                    [id](const Http2Stream* stream) { return stream->id() == id; });
    return found == streams_.end() ? nullptr : *found;
  }
  Http2Codec& codec() { return *codec_; }
  void Advance(Duration time) { now_ += time; }
  void set_consume(bool consume) { consume_ = consume; }
  uint64_t received() const { return received_; }

 private:
  void TakeEvents() {
    while (const Http2Event* event = codec_->NextEvent()) {
      if (event->kind == Kind::kData) received_ += event->data.size();
      events_.push_back(Describe(*event, role_));
      Http2Stream* stream = event->stream;
      const bool closed = event->kind == Kind::kClosed;
      const size_t size = event->data.size();
      if (stream == nullptr) continue;
      const auto known = std::find(streams_.begin(), streams_.end(), stream);
      if (closed && known != streams_.end()) streams_.erase(known);
      if (!closed && known == streams_.end()) streams_.push_back(stream);
      if (size > 0 && consume_) codec_->Consume(*stream, size);
    }
  }

  const Http2Codec::Role role_;
  const Http2Limits limits_;
  const CodecLimits codec_limits_;
  Http2StreamPool pool_;
  std::unique_ptr<Http2Codec> codec_;
  Arena scratch_{64 * 1024};
  MonoTime now_{seconds(100)};
  std::vector<std::string> events_;
  std::vector<Http2Stream*> streams_;
  bool consume_ = true;
  uint64_t received_ = 0;
};

class Server : public Side {
 public:
  explicit Server(const Http2Limits& limits = {}, const CodecLimits& codec_limits = {})
      : Side(Http2Codec::Role::kServer, limits, codec_limits) {
    Receive(kPreface + frames::Settings());
    Output();
  }

  // The frames of one type that we have sent since.
  std::vector<Parsed> Sent(uint8_t type) {
    std::vector<Parsed> all = frames::Parse(Output());
    std::vector<Parsed> out;
    for (Parsed& frame : all) {
      if (frame.type == type) out.push_back(std::move(frame));
    }
    return out;
  }
  bool IsReset(uint32_t stream, Http2ErrorCode code) {
    const std::vector<Parsed> resets = Sent(frames::kRstStream);
    return resets.size() == 1 && resets[0].stream == stream &&
           resets[0].Code() == static_cast<uint32_t>(code);
  }
  // GOAWAY with this code, and nothing after it.
  bool IsEnded(Http2ErrorCode code) {
    const std::vector<Parsed> sent = Sent(frames::kGoaway);
    return sent.size() == 1 && sent[0].Code(4) == static_cast<uint32_t>(code) && codec().finished();
  }
};

using Strings = std::vector<std::string>;

// ---- messages ----------------------------------------------------------------------------------

TEST(Http2CodecTest, AnnouncesItsLimitsFirst) {
  Side server(Http2Codec::Role::kServer);
  const std::vector<Parsed> sent = frames::Parse(server.Output());
  ASSERT_EQ(sent.size(), 2U);
  EXPECT_EQ(sent[0].type, frames::kSettings);
  EXPECT_EQ(sent[0].payload, frames::Number(3, 2) + frames::Number(128, 4) + frames::Number(4, 2) +
                                 frames::Number(128 * 1024, 4) + frames::Number(6, 2) +
                                 frames::Number(64 * 1024, 4));
  EXPECT_EQ(sent[1].type, frames::kWindowUpdate);
  EXPECT_EQ(sent[1].Code(), (1U << 20) - 65535);
}

TEST(Http2CodecTest, ReadsARequest) {
  Server server;
  server.Receive(Headers(1, Get("/a?b", {{"x-y", "z"}})));
  EXPECT_EQ(server.Events(), (Strings{"head 1 GET a.test /a?b x-y=z host=a.test", "end 1"}));
  const RequestHead& head = server.stream(1)->request();
  EXPECT_EQ(head.version, HttpVersion::kHttp2);
  EXPECT_EQ(head.method, Method::kGet);
  EXPECT_EQ(head.path, "/a");
  EXPECT_EQ(head.query, "b");
  EXPECT_EQ(head.body.kind, BodyFraming::Kind::kNone);
}

TEST(Http2CodecTest, ReadsABodyAndTrailers) {
  Server server;
  server.Receive(Headers(1, Post(), frames::kEndHeaders) + frames::Data(1, "abc") +
                 frames::Data(1, "def") + Headers(1, {{"x-sum", "6"}}));
  EXPECT_EQ(server.Events(), (Strings{"head 1 POST a.test / host=a.test", "data 1 abc",
                                      "data 1 def", "end 1 x-sum=6"}));
  EXPECT_EQ(server.stream(1)->request().body.kind, BodyFraming::Kind::kChunked);
}

TEST(Http2CodecTest, EventsDoNotDependOnHowTheBytesAreCut) {
  const std::string bytes = kPreface + frames::Settings() +
                            Headers(1, Get("/", {{"cookie", "a=1"}, {"cookie", "b=2"}})) +
                            Headers(3, Post({{"content-length", "3"}}), frames::kEndHeaders) +
                            frames::Data(3, "abc", frames::kEndStream) + frames::Ping();
  Side whole(Http2Codec::Role::kServer);
  whole.Receive(bytes);
  Side pieces(Http2Codec::Role::kServer);
  for (const char c : bytes) pieces.Receive({&c, 1});
  Strings events = pieces.Events();
  // Pieces of a body are shown as they come.
  const Strings last(events.end() - 4, events.end());
  EXPECT_EQ(last, (Strings{"data 3 a", "data 3 b", "data 3 c", "end 3"}));
  EXPECT_EQ(whole.Events(), (Strings{events[0], events[1], events[2], "data 3 abc", "end 3"}));
  EXPECT_EQ(whole.Output(), pieces.Output());
}

TEST(Http2CodecTest, CarriesAnExchangeBetweenBothRoles) {
  Side client(Http2Codec::Role::kClient);
  Side server(Http2Codec::Role::kServer);
  const std::vector<Http2Field> head{
      {":method", "POST"}, {":scheme", "http"}, {":authority", "h"}, {":path", "/p"}, {"X-A", "1"}};
  Http2Stream* call = client.codec().SubmitRequest(Method::kPost, head, false);
  ASSERT_NE(call, nullptr);
  client.codec().SubmitData(*call, "question");
  client.codec().SubmitEnd(*call, {});
  server.Receive(client.Output());
  EXPECT_EQ(server.Events(),
            (Strings{"head 1 POST h /p x-a=1 host=h", "data 1 question", "end 1"}));
  Http2Stream& stream = *server.stream(1);
  server.codec().SubmitInformational(stream, 103, std::vector<Http2Field>{{"link", "<x>"}});
  server.codec().SubmitResponse(stream, 200, std::vector<Http2Field>{{"Content-Type", "t"}}, false);
  server.codec().SubmitData(stream, "ans");
  server.codec().SubmitData(stream, "wer");
  server.codec().SubmitEnd(stream, std::vector<Http2Field>{{"Grpc-Status", "0"}});
  client.Receive(server.Output());
  EXPECT_EQ(client.Events(), (Strings{"informational 1 103 link=<x>", "head 1 200 content-type=t",
                                      "data 1 answer", "end 1 grpc-status=0", "closed 1 0"}));
  EXPECT_EQ(server.Events(), (Strings{"closed 1 0"}));
  EXPECT_EQ(server.codec().open_streams(), 0U);
}

TEST(Http2CodecTest, EndsTheStreamWithTheHeadWhenThereIsNoBody) {
  Server server;
  server.Receive(Headers(1, Get()));
  server.codec().SubmitResponse(*server.stream(1), 204, {}, true);
  const std::vector<Parsed> sent = server.Sent(frames::kHeaders);
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_TRUE(sent[0].flags & frames::kEndStream);
}

TEST(Http2CodecTest, TellsTheClientToStopABodyThatNobodyWants) {  // RFC 9113 8.1
  Server server;
  server.Receive(Headers(1, Post(), frames::kEndHeaders) + frames::Data(1, "abc"));
  server.codec().SubmitResponse(*server.stream(1), 413, {}, true);
  const std::vector<Parsed> sent = frames::Parse(server.Output());
  ASSERT_EQ(sent.size(), 2U);
  EXPECT_EQ(sent[0].type, frames::kHeaders);
  EXPECT_EQ(sent[1].type, frames::kRstStream);
  EXPECT_EQ(sent[1].Code(), 0U);
  server.Events();
  server.Receive(frames::Data(1, "still coming", frames::kEndStream));
  EXPECT_TRUE(server.Events().empty());
  EXPECT_TRUE(server.Sent(frames::kGoaway).empty());
}

TEST(Http2CodecTest, ReportsAResetByThePeer) {
  Server server;
  server.Receive(Headers(1, Get()));
  server.codec().SubmitResponse(*server.stream(1), 200, {}, false);
  server.Output();
  server.Receive(frames::Rst(1, 8));
  EXPECT_EQ(server.Events(), (Strings{"head 1 GET a.test / host=a.test", "end 1", "closed 1 8"}));
}

// ---- malformed requests: reset with PROTOCOL_ERROR, reported once and never as a request --------

struct BadRequest {
  const char* section;
  Fields fields;
};

class Http2MalformedTest : public testing::TestWithParam<BadRequest> {};

TEST_P(Http2MalformedTest, IsAStreamErrorThatIsReportedOnce) {
  Server server;
  server.Receive(Headers(1, GetParam().fields));
  EXPECT_TRUE(server.IsReset(1, Http2ErrorCode::kProtocolError)) << GetParam().section;
  EXPECT_EQ(server.Events(), (Strings{"malformed 1 malformed_request", "closed 1 1"}))
      << GetParam().section;
  server.Receive(Headers(3, Get()));
  EXPECT_EQ(server.Events().size(), 2U) << "the connection goes on";
}

Fields Without(const char* name) {
  Fields fields = Get();
  std::erase_if(fields, [name](const auto& field) { return field.first == name; });
  return fields;
}

Fields With(const char* name, std::string value) {
  Fields fields = Get();
  for (auto& field : fields) {
    if (field.first == name) field.second = value;
  }
  return fields;
}

Fields Prepend(const char* name, const char* value) {
  Fields fields = Get();
  fields.insert(fields.begin(), {name, value});
  return fields;
}

INSTANTIATE_TEST_SUITE_P(
    Rules, Http2MalformedTest,
    testing::Values(
        BadRequest{"8.2.1 upper case", Get("/", {{"X-A", "1"}})},
        BadRequest{"8.2.1 space in a name", Get("/", {{"x a", "1"}})},
        BadRequest{"8.2.1 empty name", Get("/", {{"", "1"}})},
        BadRequest{"8.2.1 colon in a name", Get("/", {{"x:a", "1"}})},
        BadRequest{"8.2.1 control in a name", Get("/", {{"x\x01", "1"}})},
        BadRequest{"8.2.1 high byte in a name", Get("/", {{"x\xe9", "1"}})},
        BadRequest{"8.2.1 not a token", Get("/", {{"x(a)", "1"}})},
        BadRequest{"8.2.1 NUL in a value", Get("/", {{"x", std::string("a\0b", 3)}})},
        BadRequest{"8.2.1 CR LF in a value", Get("/", {{"x", "a\r\nb: c"}})},
        BadRequest{"8.2.1 LF in a value", Get("/", {{"x", "a\nb"}})},
        BadRequest{"9110 5.5 control in a value", Get("/", {{"x", "a\x01"}})},
        BadRequest{"9110 5.5 DEL in a value", Get("/", {{"x", "a\x7f"}})},
        BadRequest{"8.2.1 leading space", Get("/", {{"x", " a"}})},
        BadRequest{"8.2.1 trailing tab", Get("/", {{"x", "a\t"}})},
        BadRequest{"8.2.2 connection", Get("/", {{"connection", "close"}})},
        BadRequest{"8.2.2 keep-alive", Get("/", {{"keep-alive", "1"}})},
        BadRequest{"8.2.2 proxy-connection", Get("/", {{"proxy-connection", "x"}})},
        BadRequest{"8.2.2 transfer-encoding", Get("/", {{"transfer-encoding", "chunked"}})},
        BadRequest{"8.2.2 upgrade", Get("/", {{"upgrade", "h2c"}})},
        BadRequest{"8.2.2 te", Get("/", {{"te", "gzip"}})},
        BadRequest{"8.2.2 te with trailers", Get("/", {{"te", "trailers, gzip"}})},
        BadRequest{"smuggling by underscore", Get("/", {{"transfer_encoding", "chunked"}})},
        BadRequest{"smuggling by underscore", Get("/", {{"content_length", "5"}})}));

INSTANTIATE_TEST_SUITE_P(
    PseudoFields, Http2MalformedTest,
    testing::Values(
        BadRequest{"8.3.1 no :method", Without(":method")},
        BadRequest{"8.3.1 no :scheme", Without(":scheme")},
        BadRequest{"8.3.1 no :path", Without(":path")},
        BadRequest{"8.3.1 no authority at all", Without(":authority")},
        BadRequest{"8.3 twice", Prepend(":path", "/x")},
        BadRequest{"8.3 twice", Prepend(":method", "GET")},
        BadRequest{"8.3 unknown", Prepend(":x", "y")},
        BadRequest{"8.3 of a response", Prepend(":status", "200")},
        BadRequest{"8.3 behind a field", Prepend("x", "y")},
        BadRequest{"8.3.1 empty :path", With(":path", "")},
        BadRequest{"8.3.1 relative :path", With(":path", "a")},
        BadRequest{"8.3.1 absolute :path", With(":path", "http://evil/")},
        BadRequest{"8.3.1 asterisk", With(":path", "*")},
        BadRequest{"8.3.1 space in :path", With(":path", "/a b")},
        BadRequest{"8.3.1 CR LF in :path", With(":path", "/ HTTP/1.1\r\nX: y")},
        BadRequest{"8.3.1 fragment", With(":path", "/a#b")},
        BadRequest{"8.3.1 :scheme", With(":scheme", "http://evil/?")},
        BadRequest{"8.3.1 :scheme", With(":scheme", "ftp")},
        BadRequest{"8.3.1 :method", With(":method", "GET /")},
        BadRequest{"8.3.1 :method", With(":method", "")},
        BadRequest{"8.3.1 userinfo", With(":authority", "u@a.test")},
        BadRequest{"8.3.1 path in :authority", With(":authority", "a.test/x")},
        BadRequest{"8.3.1 empty :authority", With(":authority", "")},
        BadRequest{"8.3.1 CR LF in :authority", With(":authority", "a\r\nb: c")},
        BadRequest{"8.3.1 other Host", Get("/", {{"host", "evil"}})},
        BadRequest{"8.3.1 two Hosts", Get("/", {{"host", "a.test"}, {"host", "a.test"}})},
        BadRequest{"8.5 CONNECT with :path", With(":method", "CONNECT")},
        BadRequest{"8.5 CONNECT without port", {{":method", "CONNECT"}, {":authority", "a.test"}}},
        BadRequest{"8441 3 :protocol that was not offered",
                   {{":method", "CONNECT"},
                    {":protocol", "websocket"},
                    {":scheme", "http"},
                    {":path", "/"},
                    {":authority", "a.test"}}},
        BadRequest{"8.1.1 content-length without a body", Get("/", {{"content-length", "3"}})},
        BadRequest{"8.1.1 content-length", Get("/", {{"content-length", "x"}})},
        BadRequest{"8.1.1 content-length", Get("/", {{"content-length", "-1"}})},
        BadRequest{"8.1.1 content-length", Get("/", {{"content-length", "+0"}})},
        BadRequest{"8.1.1 content-length",
                   Get("/", {{"content-length", "0"}, {"content-length", "0"}})}));

TEST(Http2CodecTest, EndsAtABodyThatIsNotAsLongAsAnnounced) {  // RFC 9113 8.1.1
  for (const char* body : {"ab", "abcd"}) {
    Server server;
    server.Receive(Headers(1, Post({{"content-length", "3"}}), frames::kEndHeaders));
    server.Receive(frames::Data(1, body, frames::kEndStream));
    EXPECT_TRUE(server.IsReset(1, Http2ErrorCode::kProtocolError)) << body;
    const Strings events = server.Events();
    EXPECT_EQ(std::count(events.begin(), events.end(), "end 1"), 0) << body;
    EXPECT_EQ(events.back(), "closed 1 1") << body;
  }
}

TEST(Http2CodecTest, CompletesNoRequestBeforeItsLengthIsConfirmed) {  // H2.CL
  Server server;
  server.Receive(Headers(1, Post({{"content-length", "3"}}), frames::kEndHeaders) +
                 frames::Data(1, "abc"));
  EXPECT_EQ(server.Events().back(), "data 1 ab");
  server.Receive(frames::Data(1, "", frames::kEndStream));
  EXPECT_EQ(server.Events(), (Strings{"data 1 c", "end 1"}));
  server.Receive(Headers(3, Post({{"content-length", "3"}}), frames::kEndHeaders) +
                 frames::Data(3, "abc") + frames::Data(3, "d"));
  EXPECT_EQ(server.Events().back(), "data 3 ab");
  EXPECT_TRUE(server.IsReset(3, Http2ErrorCode::kProtocolError));
  server.Events();
  server.Receive(Headers(5, Post({{"content-length", "0"}}), frames::kEndHeaders));
  EXPECT_EQ(server.Events(), Strings{});
  server.Receive(frames::Data(5, "", frames::kEndStream));
  EXPECT_EQ(server.Events(),
            (Strings{"head 5 POST a.test / content-length=0 host=a.test", "end 5"}));
  server.Receive(Headers(7, Post({{"content-length", "0"}}), frames::kEndHeaders) +
                 frames::Data(7, "GET /smuggled HTTP/1.1", frames::kEndStream));
  EXPECT_TRUE(server.IsReset(7, Http2ErrorCode::kProtocolError));
  EXPECT_EQ(server.Events(), (Strings{"malformed 7 bad_framing", "closed 7 1"}));
}

TEST(Http2CodecTest, RefusesBadTrailers) {  // RFC 9113 8.1
  const Fields bad[] = {{{":path", "/"}},
                        {{"transfer-encoding", "chunked"}},
                        {{"X-Upper", "1"}},
                        {{"x", "a\r\nb"}},
                        {{"connection", ""}}};
  for (const Fields& trailers : bad) {
    Server server;
    server.Receive(Headers(1, Post(), frames::kEndHeaders) + Headers(1, trailers));
    EXPECT_TRUE(server.IsReset(1, Http2ErrorCode::kProtocolError)) << trailers[0].first;
    const Strings events = server.Events();
    EXPECT_EQ(std::count(events.begin(), events.end(), "end 1"), 0) << trailers[0].first;
  }
  Server server;
  server.Receive(Headers(1, Post(), frames::kEndHeaders) +
                 Headers(1, {{"x", "y"}}, frames::kEndHeaders));
  EXPECT_TRUE(server.IsReset(1, Http2ErrorCode::kProtocolError)) << "trailers end the stream";
}

TEST(Http2CodecTest, TakesTheFormsThatAreAllowed) {
  Server server;
  server.Receive(Headers(1, Get("/", {{"te", "trailers"}, {"host", "A.test"}})));
  Fields without = Without(":authority");
  without.push_back({"host", "b.test:81"});
  server.Receive(Headers(3, without));
  server.Receive(Headers(
      5,
      {{":method", "OPTIONS"}, {":scheme", "https"}, {":path", "*"}, {":authority", "[::1]:8"}}));
  server.Receive(
      Headers(7, {{":method", "CONNECT"}, {":authority", "a.test:443"}}, frames::kEndHeaders));
  EXPECT_EQ(server.Events(), (Strings{"head 1 GET a.test / te=trailers host=A.test", "end 1",
                                      "head 3 GET b.test:81 / host=b.test:81", "end 3",
                                      "head 5 OPTIONS [::1]:8 * host=[::1]:8", "end 5",
                                      "head 7 CONNECT a.test:443 a.test:443 host=a.test:443"}));
}

TEST(Http2CodecTest, OffersExtendedConnectWhenAsked) {  // RFC 8441
  Server server({.extended_connect = true});
  server.Receive(Headers(1,
                         {{":method", "CONNECT"},
                          {":protocol", "websocket"},
                          {":scheme", "http"},
                          {":path", "/chat"},
                          {":authority", "a.test"}},
                         frames::kEndHeaders));
  EXPECT_EQ(server.Events(), (Strings{"head 1 GET a.test /chat host=a.test"}));
  EXPECT_TRUE(server.stream(1)->request().websocket);
}

TEST(Http2CodecTest, JoinsCookieCrumbs) {  // RFC 9113 8.2.3
  Server server;
  server.Receive(
      Headers(1, Get("/", {{"cookie", "a=1"}, {"x", "y"}, {"cookie", "b=2"}, {"cookie", "c=3"}})));
  EXPECT_EQ(server.Events()[0], "head 1 GET a.test / cookie=a=1; b=2; c=3 x=y host=a.test");
}

// ---- limits ------------------------------------------------------------------------------------

TEST(Http2CodecTest, AnswersHeadsThatAreTooLarge) {
  const CodecLimits limits{.request_line = 100, .head = 1000, .fields = 5};
  Server server({}, limits);
  server.Receive(Headers(1, Get("/", {{"x", std::string(900, 'v')}})));
  server.Receive(Headers(3, Get("/" + std::string(200, 'p'))));
  server.Receive(Headers(5, Get("/", Fields(6, {"x", "y"}))));
  server.Receive(Headers(7, Post({{"x", std::string(900, 'v')}}), frames::kEndHeaders) +
                 frames::Data(7, "ignored", frames::kEndStream));
  server.Receive(Headers(9, Get("/", {{"expect", "x"}})));
  server.Receive(Headers(11, Get("/", {{"x", "y"}})));
  EXPECT_EQ(server.Events(), (Strings{"refused 1 headers_too_large", "refused 3 uri_too_long",
                                      "refused 5 headers_too_large", "refused 7 headers_too_large",
                                      "refused 9 expectation_failed",
                                      "head 11 GET a.test / x=y host=a.test", "end 11"}));
}

TEST(Http2CodecTest, CountsEachCookieCrumb) {
  const CodecLimits limits{.head = 3000, .fields = 5};
  Server server({}, limits);
  server.Receive(Headers(1, Get("/", Fields(50, {"cookie", "a"}))));
  server.Receive(Headers(3, Get("/", Fields(100, {"cookie", "a"}))));
  const Strings events = server.Events();
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[0].substr(0, 38), "head 1 GET a.test / cookie=a; a; a; a;");
  EXPECT_EQ(events[2], "refused 3 headers_too_large");
  server.Receive(Headers(5, Get("/", Fields(500, {"cookie", "a"}))));
  EXPECT_EQ(server.codec().flood(), Http2Flood::kHeaders) << "far above";
  EXPECT_TRUE(server.IsEnded(Http2ErrorCode::kEnhanceYourCalm));
}

TEST(Http2CodecTest, EndsAtAnHpackBomb) {  // CVE-2016-6581
  Server server;
  const std::string entry = '\x40' + frames::Literal("x") + frames::Literal(std::string(3900, 'v'));
  std::string bomb = frames::Block(Get()) + entry;
  bomb.append(8000, '\xbe');  // the newest entry of the table
  server.Receive(
      frames::Frame(frames::kHeaders, frames::kEndHeaders | frames::kEndStream, 1, bomb));
  EXPECT_EQ(server.codec().flood(), Http2Flood::kHeaders);
  EXPECT_TRUE(server.IsEnded(Http2ErrorCode::kEnhanceYourCalm));
  EXPECT_EQ(server.Events(), Strings{});
}

TEST(Http2CodecTest, RefusesMoreStreamsThanAllowed) {  // RFC 9113 5.1.2
  Server server({.streams = 2});
  server.Receive(frames::Frame(frames::kSettings, frames::kAck, 0, ""));
  server.Receive(Headers(1, Get()) + Headers(3, Get()));
  EXPECT_EQ(server.Events().size(), 4U);
  server.Receive(Headers(5, Get()));
  EXPECT_EQ(server.Events(), Strings{});
  EXPECT_FALSE(frames::Parse(server.Output()).empty());
}

TEST(Http2CodecTest, OpensTheWindowOnlyForWhatIsConsumed) {
  Server server;
  server.set_consume(false);
  server.Receive(frames::Frame(frames::kSettings, frames::kAck, 0, ""));
  server.Receive(Headers(1, Post(), frames::kEndHeaders));
  const std::string piece(16384, 'd');
  for (int i = 0; i < 8; ++i) server.Receive(frames::Data(1, piece));
  EXPECT_EQ(server.received(), 128U * 1024);
  EXPECT_TRUE(server.Sent(frames::kWindowUpdate).empty());
  server.codec().Consume(*server.stream(1), 100 * 1024);
  const std::vector<Parsed> updates = server.Sent(frames::kWindowUpdate);
  ASSERT_EQ(updates.size(), 1U);
  EXPECT_EQ(updates[0].stream, 1U);
  EXPECT_EQ(updates[0].Code(), 100U * 1024);
  server.Receive(frames::Data(1, piece));
  EXPECT_TRUE(server.Sent(frames::kGoaway).empty());
}

TEST(Http2CodecTest, EndsAtAPeerThatIgnoresTheWindow) {  // RFC 9113 6.9.1
  Server server({.stream_window = 65535});
  server.set_consume(false);
  server.Receive(frames::Frame(frames::kSettings, frames::kAck, 0, ""));
  server.Receive(Headers(1, Post(), frames::kEndHeaders));
  const std::string piece(16384, 'd');
  for (int i = 0; i < 4; ++i) server.Receive(frames::Data(1, piece));
  EXPECT_TRUE(server.IsReset(1, Http2ErrorCode::kFlowControlError));
}

TEST(Http2CodecTest, GivesTheConnectionBackWhatAStreamLeavesUnconsumed) {
  Server server;
  server.set_consume(false);
  const std::string piece(16384, 'd');
  size_t given_back = 0;
  // 64 times 32 KiB: twice the window of the connection.
  for (uint32_t id = 1; id < 128; id += 2) {
    server.Receive(Headers(id, Post(), frames::kEndHeaders) + frames::Data(id, piece) +
                   frames::Data(id, piece) + frames::Rst(id, 8));
    for (const Parsed& update : server.Sent(frames::kWindowUpdate)) given_back += update.Code();
  }
  EXPECT_EQ(server.codec().flood(), Http2Flood::kNone);
  EXPECT_GE(given_back, 64U * 32 * 1024 - (1 << 20));
}

TEST(Http2CodecTest, GivesBackWhatComesForStreamsThatAreGone) {  // RFC 9113 6.9
  Server server;
  const std::string piece(16384, 'd');
  server.Receive(Headers(1, Post(), frames::kEndHeaders));
  server.codec().SubmitResponse(*server.stream(1), 413, {}, true);
  server.Output();
  size_t given_back = 0;
  for (int i = 0; i < 128; ++i) {  // twice the window of the connection
    server.Receive(frames::Data(1, piece));
    for (const Parsed& update : server.Sent(frames::kWindowUpdate)) given_back += update.Code();
  }
  EXPECT_GE(given_back, 128U * 16384 - (1 << 20));
  EXPECT_FALSE(server.codec().finished());
}

// ---- output ------------------------------------------------------------------------------------

TEST(Http2CodecTest, BlocksAStreamThatThePeerDoesNotTake) {
  Server server({.blocked = 1000});
  server.Receive(frames::Settings({{4, 100}}) + Headers(1, Get()));
  server.Events();
  Http2Stream& stream = *server.stream(1);
  server.codec().SubmitResponse(stream, 200, {}, false);
  const std::string body(2000, 'b');
  server.codec().SubmitData(stream, body);
  std::string sent = server.Output();
  EXPECT_EQ(server.Events(), Strings{"blocked 1"});
  EXPECT_EQ(stream.unsent(), 1900U);
  server.Receive(frames::Window(1, 1000));
  sent += server.Output();
  EXPECT_EQ(server.Events(), Strings{});
  EXPECT_EQ(stream.unsent(), 900U);
  server.Receive(frames::Window(1, 1000));
  server.codec().SubmitEnd(stream, {});
  sent += server.Output();
  EXPECT_EQ(server.Events(), Strings{"closed 1 0"});
  std::string got;
  for (const Parsed& frame : frames::Parse(sent)) {
    if (frame.type == frames::kData) got += frame.payload;
  }
  EXPECT_EQ(got, body);
}

TEST(Http2CodecTest, LendsLargePiecesAndKeepsWhatIsNotPulled) {
  Server server;
  server.Receive(frames::Settings({{4, 1 << 30}}) + frames::Window(0, 1 << 30) + Headers(1, Get()));
  Http2Stream& stream = *server.stream(1);
  server.codec().SubmitResponse(stream, 200, {}, false);
  std::string body(60000, 'b');
  for (size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>('a' + i % 26);
  std::string lent = body;
  server.codec().SubmitData(stream, lent);
  server.codec().SubmitEnd(stream, {});
  Arena scratch;
  std::string sent;
  bool is_lent = false;
  for (const std::string_view piece : server.codec().Pull(scratch, 20000)) {
    is_lent = is_lent || (piece.data() >= lent.data() && piece.data() < lent.data() + lent.size());
    sent += piece;
  }
  EXPECT_TRUE(is_lent);
  EXPECT_GE(sent.size(), 20000U);
  EXPECT_LE(sent.size(), 40000U) << "about the limit";
  server.codec().KeepLent();
  lent.assign(lent.size(), '#');
  while (server.codec().has_output()) sent += server.Output(10000);
  std::string got;
  for (const Parsed& frame : frames::Parse(sent)) {
    if (frame.type == frames::kData) got += frame.payload;
  }
  EXPECT_EQ(got, body);
}

TEST(Http2CodecTest, HoldsWhatIsPulledAtTheEndOfTheTurn) {
  Server server;
  server.Receive(Headers(1, Get()));
  Http2Stream& stream = *server.stream(1);
  server.codec().SubmitResponse(stream, 200, {}, false);
  Arena turn;
  std::string got;
  for (const char c : {'a', 'b', 'c'}) {
    std::string lent(1000, c);
    server.codec().SubmitData(stream, lent);
    server.codec().HoldLent(turn);
    lent.assign(lent.size(), '#');
  }
  server.codec().SubmitEnd(stream, {});
  const std::vector<Parsed> sent = frames::Parse(server.Output());
  ASSERT_EQ(sent.size(), 2U);
  EXPECT_EQ(sent[1].payload,
            std::string(1000, 'a') + std::string(1000, 'b') + std::string(1000, 'c'));
}

TEST(Http2CodecTest, KnowsAHeadThatIsNotComplete) {
  Server server;
  EXPECT_TRUE(server.codec().established());
  const std::string head = Headers(1, Get());
  server.Receive(head.substr(0, 12));
  EXPECT_TRUE(server.codec().in_head());
  server.Receive(head.substr(12));
  EXPECT_FALSE(server.codec().in_head());
  server.Receive(frames::Frame(frames::kHeaders, 0, 3, frames::Block(Get())));
  EXPECT_TRUE(server.codec().in_head());
  EXPECT_EQ(server.codec().heads_received(), 1U);
  server.Receive(frames::Frame(frames::kContinuation, frames::kEndHeaders, 3, ""));
  EXPECT_FALSE(server.codec().in_head());
  EXPECT_EQ(server.codec().heads_received(), 2U);
}

TEST(Http2CodecTest, SendsWhatThereIsBeforeItAbortsABody) {
  Server server;
  server.Receive(Headers(1, Get()));
  Http2Stream& stream = *server.stream(1);
  server.codec().SubmitResponse(stream, 200, {}, false);
  server.codec().SubmitData(stream, "half");
  server.codec().SubmitAbort(stream);
  const std::vector<Parsed> sent = frames::Parse(server.Output());
  ASSERT_EQ(sent.size(), 3U);
  EXPECT_EQ(sent[0].type, frames::kHeaders);
  EXPECT_EQ(sent[1].payload, "half");
  EXPECT_FALSE(sent[1].flags & frames::kEndStream);
  EXPECT_EQ(sent[2].type, frames::kRstStream);
  EXPECT_EQ(sent[2].Code(), static_cast<uint32_t>(Http2ErrorCode::kInternalError));
}

TEST(Http2CodecTest, SharesTheConnectionBetweenStreams) {
  Server server;
  server.Receive(frames::Settings({{4, 1 << 30}}) + frames::Window(0, 1 << 30) + Headers(1, Get()) +
                 Headers(3, Get()));
  const std::string body(200000, 'b');
  for (const int id : {1, 3}) {
    server.codec().SubmitResponse(*server.stream(id), 200, {}, false);
    server.codec().SubmitData(*server.stream(id), body);
  }
  size_t sent[4] = {};
  for (const Parsed& frame : frames::Parse(server.Output(100000))) {
    if (frame.type == frames::kData) sent[frame.stream] += frame.payload.size();
  }
  EXPECT_GT(sent[1], 30000U);
  EXPECT_GT(sent[3], 30000U);
}

TEST(Http2CodecTest, ForgetsTheBodyOfAStreamThatWasReset) {
  Server server;
  server.Receive(Headers(1, Get()));
  Http2Stream& stream = *server.stream(1);
  server.codec().SubmitResponse(stream, 200, {}, false);
  const std::string body(200000, 'b');
  server.codec().SubmitData(stream, body);
  server.Output(1000);
  server.Receive(frames::Rst(1, 8));
  EXPECT_EQ(frames::Parse(server.Output()).size(), 0U);
  EXPECT_EQ(server.codec().open_streams(), 0U);
}

// ---- shutdown ----------------------------------------------------------------------------------

TEST(Http2CodecTest, DrainsInTwoSteps) {  // RFC 9113 6.8
  Server server;
  server.Receive(Headers(1, Get()));
  server.codec().BeginDrain();
  std::vector<Parsed> sent = frames::Parse(server.Output());
  ASSERT_EQ(sent.size(), 2U);
  EXPECT_EQ(sent[0].Code(), 0x7fffffffU);
  EXPECT_EQ(sent[1].type, frames::kPing);
  server.Receive(Headers(3, Get()));  // was on its way
  server.Receive(frames::Frame(frames::kPing, frames::kAck, 0, sent[1].payload));
  sent = frames::Parse(server.Output());
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_EQ(sent[0].Code(), 3U);
  server.Receive(Headers(5, Get()));
  EXPECT_EQ(server.Events().size(), 4U) << "5 is not reported";
  EXPECT_FALSE(server.codec().finished());
  for (const int id : {1, 3}) server.codec().SubmitResponse(*server.stream(id), 204, {}, true);
  server.Output();
  EXPECT_TRUE(server.codec().finished());
}

TEST(Http2CodecTest, EndsAtBytesThatAreNotThePreface) {  // RFC 9113 3.4
  Side server(Http2Codec::Role::kServer);
  server.Receive("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  server.Output();
  EXPECT_TRUE(server.codec().finished());
}

TEST(Http2CodecTest, AClientHearsOfRefusedStreams) {  // RFC 9113 6.8
  Side client(Http2Codec::Role::kClient);
  const std::vector<Http2Field> head{
      {":method", "GET"}, {":scheme", "http"}, {":authority", "h"}, {":path", "/"}};
  ASSERT_NE(client.codec().SubmitRequest(Method::kGet, head, true), nullptr);
  ASSERT_NE(client.codec().SubmitRequest(Method::kGet, head, true), nullptr);
  client.Output();
  client.Receive(frames::Settings() +
                 frames::Frame(frames::kGoaway, 0, 0, frames::Number(1, 4) + frames::Number(0, 4)));
  EXPECT_EQ(client.Events(), (Strings{"goaway 0", "closed 3 7"}));
  EXPECT_FALSE(client.codec().can_open_stream());
  EXPECT_EQ(client.codec().SubmitRequest(Method::kGet, head, true), nullptr);
}

TEST(Http2CodecTest, AClientKeepsToThePeersLimit) {  // RFC 9113 5.1.2
  Side client(Http2Codec::Role::kClient);
  client.Receive(frames::Settings({{3, 1}}));
  const std::vector<Http2Field> head{
      {":method", "GET"}, {":scheme", "http"}, {":authority", "h"}, {":path", "/"}};
  ASSERT_NE(client.codec().SubmitRequest(Method::kGet, head, true), nullptr);
  EXPECT_EQ(client.codec().SubmitRequest(Method::kGet, head, true), nullptr);
}

TEST(Http2CodecTest, AClientRefusesBadResponses) {
  const Fields bad[] = {{{":status", "99"}},
                        {{":status", "600"}},
                        {{":status", "20"}},
                        {{":status", "101"}},
                        {{":status", "abc"}},
                        {{"x", "y"}},
                        {{":status", "200"}, {"connection", "close"}},
                        {{":status", "200"}, {"X", "y"}},
                        {{":status", "200"}, {"x", "a\nb"}},
                        {{":status", "200"}, {"content-length", "1"}, {"content-length", "2"}}};
  for (const Fields& fields : bad) {
    Side client(Http2Codec::Role::kClient);
    const std::vector<Http2Field> head{
        {":method", "GET"}, {":scheme", "http"}, {":authority", "h"}, {":path", "/"}};
    ASSERT_NE(client.codec().SubmitRequest(Method::kGet, head, true), nullptr);
    client.Output();
    client.Receive(frames::Settings() + Headers(1, fields));
    client.Output();
    EXPECT_EQ(client.Events(), Strings{"closed 1 1"}) << fields.back().second;
  }
}

TEST(Http2CodecTest, AClientBoundsInformationalResponses) {
  Side client(Http2Codec::Role::kClient);
  const std::vector<Http2Field> head{
      {":method", "GET"}, {":scheme", "http"}, {":authority", "h"}, {":path", "/"}};
  ASSERT_NE(client.codec().SubmitRequest(Method::kGet, head, true), nullptr);
  client.Output();
  client.Receive(frames::Settings());
  for (int i = 0; i < 17; ++i) {
    client.Receive(Headers(1, {{":status", "102"}}, frames::kEndHeaders));
  }
  client.Output();
  EXPECT_EQ(client.Events().back(), "closed 1 1");
}

TEST(Http2CodecTest, MeasuresLivenessByPing) {
  Side client(Http2Codec::Role::kClient);
  client.Receive(frames::Settings());
  client.codec().Ping();
  const std::string sent = client.Output();
  const std::vector<Parsed> all = frames::Parse(sent.substr(Http2Codec::kPreface.size()));
  const auto ping = std::find_if(all.begin(), all.end(),
                                 [](const Parsed& frame) { return frame.type == frames::kPing; });
  ASSERT_NE(ping, all.end());
  client.Receive(frames::Frame(frames::kPing, frames::kAck, 0, ping->payload));
  EXPECT_EQ(client.Events(), Strings{"pong"});
}

// ---- floods ------------------------------------------------------------------------------------

struct FloodCase {
  const char* name;
  Http2Flood expected;
  size_t at_most;  // repetitions until the connection ends
  std::string (*make)(uint32_t i);
};

class Http2FloodTest : public testing::TestWithParam<FloodCase> {};

TEST_P(Http2FloodTest, EndsTheConnection) {
  Server server;
  server.Receive(Headers(1, Post(), frames::kEndHeaders));
  size_t count = 0;
  while (count < 8000 && server.codec().flood() == Http2Flood::kNone) {
    server.Receive(GetParam().make(static_cast<uint32_t>(count++)));
  }
  EXPECT_EQ(server.codec().flood(), GetParam().expected);
  EXPECT_LE(count, GetParam().at_most);
  EXPECT_TRUE(server.IsEnded(Http2ErrorCode::kEnhanceYourCalm));
}

TEST_P(Http2FloodTest, EndsAConnectionThatReadsItsAnswers) {
  Server server;
  server.Receive(Headers(1, Post(), frames::kEndHeaders));
  size_t count = 0;
  while (count < 8000 && server.codec().flood() == Http2Flood::kNone) {
    server.Receive(GetParam().make(static_cast<uint32_t>(count++)));
    if (server.codec().flood() == Http2Flood::kNone) server.Output();
  }
  EXPECT_NE(server.codec().flood(), Http2Flood::kNone);
  EXPECT_LE(count, GetParam().at_most);
}

TEST_P(Http2FloodTest, EndsNothingWhenSlow) {
  if (GetParam().expected == Http2Flood::kContinuation) return;  // bounded for each head
  Server server;
  server.Receive(Headers(1, Post(), frames::kEndHeaders));
  for (uint32_t i = 0; i < 2 * GetParam().at_most; ++i) {
    server.Receive(GetParam().make(i));
    server.Output();
    server.Advance(milliseconds(200));
  }
  EXPECT_EQ(server.codec().flood(), Http2Flood::kNone);
}

uint32_t NextId(uint32_t i) { return 2 * i + 3; }

INSTANTIATE_TEST_SUITE_P(
    Kinds, Http2FloodTest,
    testing::Values(
        FloodCase{"RapidReset", Http2Flood::kReset, 250,
                  [](uint32_t i) { return Headers(NextId(i), Get()) + frames::Rst(NextId(i), 8); }},
        FloodCase{"Malformed", Http2Flood::kReset, 350,
                  [](uint32_t i) {
                    return Headers(NextId(i), Get("/", {{"te", "x"}}));
                  }},
        FloodCase{"Ping", Http2Flood::kPing, 600, [](uint32_t) { return frames::Ping(); }},
        FloodCase{"Settings", Http2Flood::kSettings, 150,
                  [](uint32_t) { return frames::Settings(); }},
        FloodCase{"EmptyData", Http2Flood::kEmptyData, 600,
                  [](uint32_t) { return frames::Data(1, ""); }},
        FloodCase{"PaddingOnly", Http2Flood::kEmptyData, 600,
                  [](uint32_t) {
                    return frames::Data(1, std::string("\x0a") + std::string(10, '\0'),
                                        frames::kPadded);
                  }},
        FloodCase{"Priority", Http2Flood::kPriority, 600,
                  [](uint32_t i) {
                    return frames::Frame(frames::kPriority, 0, NextId(i),
                                         std::string("\0\0\0\0\x10", 5));
                  }},
        FloodCase{"WindowUpdate", Http2Flood::kWindowUpdate, 2100,
                  [](uint32_t) { return frames::Window(0, 1); }},
        FloodCase{"Unknown", Http2Flood::kUnknownFrame, 600,
                  [](uint32_t) { return frames::Frame(0x42, 0, 0, "x"); }}),
    [](const auto& parameter) { return std::string(parameter.param.name); });

TEST(Http2CodecTest, EndsAHeadInTooManyFrames) {  // CVE-2024-27316, CVE-2019-9518
  Server server;
  server.Receive(frames::Frame(frames::kHeaders, 0, 1, frames::Block(Get())));
  int count = 0;
  while (count < 100 && server.codec().flood() == Http2Flood::kNone) {
    server.Receive(frames::Frame(frames::kContinuation, 0, 1, ""));
    ++count;
  }
  EXPECT_LE(count, 64);
  EXPECT_EQ(server.codec().flood(), Http2Flood::kContinuation);
  EXPECT_TRUE(server.IsEnded(Http2ErrorCode::kEnhanceYourCalm));
}

TEST(Http2CodecTest, TakesWindowUpdatesForEachFrameThatItSends) {
  Server server({.blocked = 1 << 20});
  server.Receive(Headers(1, Get()));
  Http2Stream& stream = *server.stream(1);
  server.codec().SubmitResponse(stream, 200, {}, false);
  const std::string body(1000, 'b');
  for (int i = 0; i < 5000; ++i) {
    server.codec().SubmitData(stream, body);
    server.Output();
    server.Receive(frames::Window(1, 1000) + frames::Window(0, 1000));
  }
  EXPECT_EQ(server.codec().flood(), Http2Flood::kNone);
}

}  // namespace
}  // namespace sluice
