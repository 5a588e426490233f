#include <gtest/gtest.h>

#include "tests/unit/http/codec_transcript.h"

namespace sluice {
namespace {

using std::string_literals::operator""s;

// `bytes` is what an upstream sends before it closes, `expected` the transcript with ';' for line
// ends.
struct ResponseCase {
  std::string name;
  std::string bytes;
  std::string expected;
  Method request_method = Method::kGet;
};

const std::string kOk = "HTTP/1.1 200 OK\r\n";
const std::string kInvalid = "error invalid_response upstream;";
const std::string kTruncated = "error response_truncated upstream;";
const std::string kEnd = "Content-Length: 0\r\n\r\n";
const std::string kFive = "Content-Length: 5\r\n";
const std::string kChunked = "Transfer-Encoding: chunked\r\n";
const std::string kChunkedHead = "200 [OK] 1.1 body chunked;";

std::vector<ResponseCase> StatusLineCases() {
  return {
      {"Plain", kOk + kFive + "\r\nhello", "200 [OK] 1.1 body 5;data hello;end;"},
      {"EmptyReason", "HTTP/1.1 200 \r\n" + kEnd, "200 [] 1.1 body 0;end;"},
      {"NoReason", "HTTP/1.1 200\r\n" + kEnd, "200 [] 1.1 body 0;end;"},
      {"LongReason", "HTTP/1.1 404 Not \xc3\xa4 Found\r\n" + kEnd,
       "404 [Not \xc3\xa4 Found] 1.1 body 0;end;"},
      {"Row135PartialStatusLine", "HTTP/1.1 20", "error upstream_closed upstream;"},
      {"Row135PartialHead", kOk + "Content-Le", "error upstream_closed upstream;"},
      {"Row135Garbage", "SSH-2.0-OpenSSH_9.2\r\n", kInvalid},
      {"Row135Http09Body", "<html>\r\n</html>\r\n", kInvalid},
      {"Row134CloseBeforeAnyByte", "", ""},
      {"EmptyLineBefore", "\r\n" + kOk + kEnd, kInvalid},
      {"Row141Http2", "HTTP/2.0 200 OK\r\n" + kEnd, kInvalid},
      {"Row141Status2000", "HTTP/1.1 2000 OK\r\n" + kEnd, kInvalid},
      {"Row141Status000", "HTTP/1.1 000 OK\r\n" + kEnd, kInvalid},
      {"Status099", "HTTP/1.1 099 OK\r\n" + kEnd, kInvalid},
      {"Status600", "HTTP/1.1 600 OK\r\n" + kEnd, kInvalid},
      {"Status599", "HTTP/1.1 599 X\r\n" + kEnd, "599 [X] 1.1 body 0;end;"},
      {"StatusTwoDigits", "HTTP/1.1 20 OK\r\n" + kEnd, kInvalid},
      {"StatusHex", "HTTP/1.1 2f0 OK\r\n" + kEnd, kInvalid},
      {"TwoSpaces", "HTTP/1.1  200 OK\r\n" + kEnd, kInvalid},
      {"TabInsteadOfSpace", "HTTP/1.1\t200 OK\r\n" + kEnd, kInvalid},
      {"Icy", "ICY 200 OK\r\n" + kEnd, kInvalid},
      {"NulInReason", "HTTP/1.1 200 O\0K\r\n"s + kEnd, kInvalid},
      {"CrInReason", "HTTP/1.1 200 O\rK\r\n" + kEnd, kInvalid},
      {"BareLf", "HTTP/1.1 200 OK\n" + kEnd, kInvalid},
  };
}

std::vector<ResponseCase> FramingCases() {
  return {
      {"Row138ClAndTe", kOk + kFive + kChunked + "\r\n2\r\nhi\r\n0\r\n\r\n",
       "200 [OK] 1.1 body chunked close;data hi;end;"},
      {"Row138TeAndCl", kOk + kChunked + kFive + "\r\n2\r\nhi\r\n0\r\n\r\n",
       "200 [OK] 1.1 body chunked close;data hi;end;"},
      {"Row139TwoCl", kOk + kFive + "Content-Length: 6\r\n\r\nhello", kInvalid},
      {"ClList", kOk + "Content-Length: 5, 6\r\n\r\nhello", kInvalid},
      {"ClEmpty", kOk + "Content-Length:\r\n\r\nhello", kInvalid},
      {"ClSigned", kOk + "Content-Length: +5\r\n\r\nhello", kInvalid},
      {"ClOver64Bit", kOk + "Content-Length: 18446744073709551621\r\n\r\nhello", kInvalid},
      {"Row140Nul", kOk + "X: a\0b\r\n"s + kEnd, kInvalid},
      {"Row140BareCr", kOk + "X: a\rb\r\n" + kEnd, kInvalid},
      {"Row140BareLf", kOk + "X: a\nY: b\r\n" + kEnd, kInvalid},
      {"Row140Fold", kOk + "X: a\r\n b\r\n" + kEnd, kInvalid},
      {"Row140SpaceBeforeColon", kOk + "X : a\r\n" + kEnd, kInvalid},
      {"EmptyName", kOk + ": a\r\n" + kEnd, kInvalid},
      {"TeInHttp10", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + kChunked + "\r\n0\r\n\r\n",
       "200 [OK] 1.0 body chunked close;end;"},
      {"TeTwice", kOk + kChunked + kChunked + "\r\n0\r\n\r\n", kInvalid},
      {"TeEmpty", kOk + "Transfer-Encoding:\r\n\r\n", kInvalid},
      {"TeGzipChunked", kOk + "Transfer-Encoding: gzip, chunked\r\n\r\n", kInvalid},
      {"TeIdentity", kOk + "Transfer-Encoding: identity\r\n\r\nhi", kInvalid},
      {"TeGzip", kOk + "Transfer-Encoding: gzip\r\n\r\nhi", kInvalid},
      {"TeChunkedNotLast", kOk + "Transfer-Encoding: chunked, identity\r\n\r\nhi", kInvalid},
      {"UntilClose", kOk + "\r\nhello", "200 [OK] 1.1 body until close close;data hello;end;"},
      {"UntilCloseEmpty", kOk + "\r\n", "200 [OK] 1.1 body until close close;end;"},
      {"Http10KeepAlive", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + kEnd,
       "200 [OK] 1.0 body 0;end;"},
      {"Http10", "HTTP/1.0 200 OK\r\n" + kEnd, "200 [OK] 1.0 body 0 close;end;"},
      {"Close", kOk + "Connection: close\r\n" + kEnd, "200 [OK] 1.1 body 0 close;end;"},
      {"Row136ShortLength", kOk + kFive + "\r\nhel", "200 [OK] 1.1 body 5;data hel;" + kTruncated},
      {"Row136ShortChunk", kOk + kChunked + "\r\n5\r\nhel",
       kChunkedHead + "data hel;" + kTruncated},
      {"Row136NoLastChunk", kOk + kChunked + "\r\n2\r\nhi\r\n",
       kChunkedHead + "data hi;" + kTruncated},
      {"Row136NoEndOfTrailers", kOk + kChunked + "\r\n0\r\nX: y\r\n", kChunkedHead + kTruncated},
      {"Row136BadChunk", kOk + kChunked + "\r\nx\r\n", kChunkedHead + kInvalid},
      {"Trailers", kOk + kChunked + "\r\n0\r\nX: y\r\n\r\n", kChunkedHead + "trailer X: y;end;"},
      {"Row146NoContent", "HTTP/1.1 204 No Content\r\n\r\n", "204 [No Content] 1.1 body none;end;"},
      {"Row146NoContentWithLength", "HTTP/1.1 204 No Content\r\n" + kFive + "\r\n",
       "204 [No Content] 1.1 body none close;end;"},
      {"Row146NotModifiedWithLength", "HTTP/1.1 304 Not Modified\r\n" + kFive + "\r\n",
       "304 [Not Modified] 1.1 body none;end;"},
      {"Row146NotModifiedWithBodyIsNotAnAnswer",
       "HTTP/1.1 304 Not Modified\r\n" + kFive + "\r\nhello\r\n",
       "304 [Not Modified] 1.1 body none;end;" + kInvalid},
      {"Row146Head", kOk + kFive + "\r\n", "200 [OK] 1.1 body none;end;", Method::kHead},
      {"Row146HeadUntilClose", kOk + "\r\n", "200 [OK] 1.1 body none;end;", Method::kHead},
      {"Row146HeadChunked", kOk + kChunked + "\r\n", "200 [OK] 1.1 body none;end;", Method::kHead},
      {"HeadWithBadLength", kOk + "Content-Length: x\r\n\r\n", kInvalid, Method::kHead},
      {"ConnectAccepted", kOk + "\r\n", "200 [OK] 1.1 body none;end;", Method::kConnect},
      {"ConnectRefused", "HTTP/1.1 403 No\r\n" + kFive + "\r\nhello",
       "403 [No] 1.1 body 5;data hello;end;", Method::kConnect},
      {"Row142Continue", "HTTP/1.1 100 Continue\r\n\r\n" + kOk + kEnd,
       "100 [Continue] 1.1 body none;end;200 [OK] 1.1 body 0;end;"},
      {"Row142EarlyHints",
       "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + kOk + kFive + "\r\nhello",
       "103 [Early Hints] 1.1 body none;end;200 [OK] 1.1 body 5;data hello;end;"},
      {"Row144SwitchingProtocols", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
       "101 [Switching Protocols] 1.1 body none;end;"},
      {"Row147SecondAnswerIsAMessageOfItsOwn", kOk + kFive + "\r\nhello" + kOk + kEnd,
       "200 [OK] 1.1 body 5;data hello;end;200 [OK] 1.1 body 0;end;"},
  };
}

class Http1ResponseTest : public testing::TestWithParam<ResponseCase> {
 protected:
  static TranscriptOptions Options() {
    return {.role = Http1Decoder::Role::kClient,
            .request_method = GetParam().request_method,
            .eof = true,
            .with_fields = false,
            .with_detail = false};
  }
};

std::string Lines(std::string text) {
  for (char& c : text) {
    if (c == ';') c = '\n';
  }
  return text;
}

TEST_P(Http1ResponseTest, IsDecodedAsExpected) {
  EXPECT_EQ(Transcript(Options(), {GetParam().bytes}), Lines(GetParam().expected));
}

TEST_P(Http1ResponseTest, DoesNotDependOnHowTheBytesAreCut) {
  const std::string_view all = GetParam().bytes;
  TranscriptOptions options = Options();
  options.with_fields = true;
  const std::string expected = Transcript(options, {all});
  EXPECT_EQ(Transcript(options, BytesOf(all)), expected);
  for (size_t cut = 1; cut < all.size(); ++cut) {
    ASSERT_EQ(Transcript(options, {all.substr(0, cut), all.substr(cut)}), expected)
        << "cut at " << cut;
  }
}

std::string NameOf(const testing::TestParamInfo<ResponseCase>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(StatusLine, Http1ResponseTest, testing::ValuesIn(StatusLineCases()),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(Framing, Http1ResponseTest, testing::ValuesIn(FramingCases()), NameOf);

}  // namespace
}  // namespace sluice
