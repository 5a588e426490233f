#include <gtest/gtest.h>

#include "tests/unit/http/codec_transcript.h"

namespace sluice {
namespace {

using std::string_literals::operator""s;

// `bytes` is a whole connection; `expected` is the transcript with ';' for line ends.
struct RequestCase {
  std::string name;
  std::string bytes;
  std::string expected;
};

const std::string kGet = "GET / HTTP/1.1\r\nHost: a\r\n";
const std::string kPost = "POST / HTTP/1.1\r\nHost: a\r\n";
const std::string kChunked = kPost + "Transfer-Encoding: chunked\r\n\r\n";
const std::string kSmuggled = "GET /SMUG HTTP/1.1\r\nHost: a\r\n\r\n";
const std::string kBadFraming = "error bad_framing client;";
const std::string kMalformed = "error malformed_request client;";
const std::string kBadHost = "error bad_host client;";
const std::string kUnknownCoding = "error unknown_transfer_coding client;";
const std::string kOk = "GET a / 1.1 body none;end;";
const std::string kChunkedHead = "POST a / 1.1 body chunked;";
const std::string kBadChunk = kChunkedHead + kBadFraming;

std::string WithTarget(const std::string& target) {
  return "GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n";
}

std::string WithHost(const std::string& host) {
  return "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n";
}

std::string WithLength(const std::string& length) {
  return kPost + "Content-Length: " + length + "\r\n\r\nhello";
}

std::string WithCoding(const std::string& coding) {
  return kPost + "Transfer-Encoding: " + coding + "\r\n\r\n0\r\n\r\n";
}

// The rows of framing and smuggling, numbered as in the catalogue of attacks.
std::vector<RequestCase> SmugglingCases() {
  const std::string te = "Transfer-Encoding: chunked\r\n";
  const std::string cl = "Content-Length: 5\r\n";
  return {
      {"Row1ClTe", kPost + "Content-Length: 41\r\n" + te + "\r\n0\r\n\r\n" + kSmuggled,
       kBadFraming},
      {"Row2TeCl", kPost + te + "Content-Length: 4\r\n\r\n1f\r\n" + kSmuggled, kBadFraming},
      {"Row3TeTwice", kPost + te + te + "\r\n0\r\n\r\n", kBadFraming},
      {"Row3TeListTwice", WithCoding("chunked, chunked"), kBadFraming},
      {"Row4ChunkedIdentity", WithCoding("chunked, identity"), kBadFraming},
      {"Row4ChunkedGzip", WithCoding("chunked, gzip"), kBadFraming},
      {"Row4Xchunked", WithCoding("xchunked"), kUnknownCoding},
      {"Row4Identity", WithCoding("identity"), kUnknownCoding},
      {"Row4Quoted", WithCoding("\"chunked\""), kBadFraming},
      {"Row4VerticalTab",
       WithCoding("\x0b"
                  "chunked"),
       kMalformed},
      {"Row4NoBreakSpace",
       WithCoding("\xa0"
                  "chunked"),
       kBadFraming},
      {"Row4XchunkedAndCl", kPost + cl + "Transfer-Encoding: xchunked\r\n\r\nhello", kBadFraming},
      {"Row5LeadingComma", WithCoding(",chunked"), kBadFraming},
      {"Row5TrailingComma", WithCoding("chunked,"), kBadFraming},
      {"Row5Parameter", WithCoding("chunked;q=1"), kBadFraming},
      {"Row5Empty", WithCoding(""), kBadFraming},
      {"Row5EmptyAndCl", kPost + cl + "Transfer-Encoding:\r\n\r\nhello", kBadFraming},
      {"Row5ChunkedSpelling", WithCoding("CHUNKED \t"), "POST a / 1.1 body chunked;end;"},
      {"Row6GzipChunked", WithCoding("gzip, chunked"), kUnknownCoding},
      {"Row6GzipThenChunkedFields", kPost + "Transfer-Encoding: gzip\r\n" + te + "\r\n0\r\n\r\n",
       kBadFraming},
      {"Row7TeInHttp10", "POST / HTTP/1.0\r\nHost: a\r\n" + te + "\r\n0\r\n\r\n", kBadFraming},
      {"Row8SpaceBeforeColonTe", kPost + "Transfer-Encoding : chunked\r\n\r\n", kMalformed},
      {"Row8TabBeforeColonTe", kPost + "Transfer-Encoding\t: chunked\r\n\r\n", kMalformed},
      {"Row8SpaceBeforeColonCl", kPost + "Content-Length : 5\r\n\r\nhello", kMalformed},
      {"Row9Fold", kPost + "X: y\r\n Transfer-Encoding: chunked\r\n\r\n", kMalformed},
      {"Row9FoldTab", kPost + "X: y\r\n\tz\r\n\r\n", kMalformed},
      {"Row9FoldedTe", kPost + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", kMalformed},
      {"Row9FoldedCl", kPost + "X: y\r\n Content-Length: 5\r\n\r\nhello", kMalformed},
      {"Row9FoldEmpty", kGet + "X: y\r\n \r\n\r\n", kMalformed},
      {"Row9FoldAfterColon", kGet + "X:\r\n y\r\n\r\n", kMalformed},
      {"Row10SpaceBeforeFirstField", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", kMalformed},
      {"Row10TabBeforeFirstField", "GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", kMalformed},
      {"Row11BareLfRequestLine", "GET / HTTP/1.1\nHost: a\r\n\r\n", kMalformed},
      {"Row11BareLfField", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", kMalformed},
      {"Row11BareLfEnd", kGet + "\n", kMalformed},
      {"Row11BareLfFirst", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", kMalformed},
      {"Row12BareCrInValue", kGet + "X: 1\rTransfer-Encoding: chunked\r\n\r\n", kMalformed},
      {"Row12BareCrAfterColon", kGet + "x:\rTransfer-Encoding: chunked\r\n\r\n", kMalformed},
      {"Row12BareCrInRequestLine", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", kMalformed},
      {"Row13CrZAtEnd", kGet + "\r\rZ\r\n\r\n", kMalformed},
      {"Row13LineEndThenCrZ", kGet + "X: y\r\n\rZ\r\n\r\n", kMalformed},
      {"Row14NulInValue", kGet + "X: a\0b\r\n\r\n"s, kMalformed},
      {"Row14NulInHost", "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n"s, kMalformed},
      {"Row14NulInName", kGet + "X\0Y: b\r\n\r\n"s, kMalformed},
      {"Row15Ctl01",
       kGet + "X: a\x01"
              "b\r\n\r\n",
       kMalformed},
      {"Row15Ctl1f",
       kGet + "X: a\x1f"
              "b\r\n\r\n",
       kMalformed},
      {"Row15Del",
       kGet + "X: a\x7f"
              "b\r\n\r\n",
       kMalformed},
      {"Row15DelBehind16Bytes",
       kGet + "X: 0123456789abcdef01234567\x7f"
              "b\r\n\r\n",
       kMalformed},
      {"Row15TabAndObsTextPass", kGet + "X: a\tb\xc3\xa4\r\n\r\n", kOk},
      {"Row16NoColon", kGet + "BadHeader\r\n\r\n", kMalformed},
      {"Row16EmptyName", kGet + ": v\r\n\r\n", kMalformed},
      {"Row16EmptyNameFirst", "GET / HTTP/1.1\r\n: v\r\nHost: a\r\n\r\n", kMalformed},
      {"Row16SpaceInName", kGet + "X A: v\r\n\r\n", kMalformed},
      {"Row16Parentheses", kGet + "X(A): v\r\n\r\n", kMalformed},
      {"Row16Byte85InName", kGet + "X\x85: v\r\n\r\n", kMalformed},
      {"Row16Utf8InName", kGet + "X\xc3\xa4: v\r\n\r\n", kMalformed},
      {"Row17ClTwice", kPost + cl + cl + "\r\nhello", kBadFraming},
      {"Row17ClList", WithLength("5, 5"), kBadFraming},
      {"Row18ClDiffers", kPost + cl + "Content-Length: 6\r\n\r\nhello", kBadFraming},
      {"Row18ClZeroAnd41", kPost + "Content-Length: 0\r\nContent-Length: 41\r\n\r\n" + kSmuggled,
       kBadFraming},
      {"Row18ClListDiffers", WithLength("5, 6"), kBadFraming},
      {"Row19Plus", WithLength("+5"), kBadFraming},
      {"Row19Minus", WithLength("-5"), kBadFraming},
      {"Row19MinusZero", WithLength("-0"), kBadFraming},
      {"Row19Hex", WithLength("0x5"), kBadFraming},
      {"Row19Underscore", WithLength("1_0"), kBadFraming},
      {"Row19Space", WithLength("1 0"), kBadFraming},
      {"Row19Letters", WithLength("5abc"), kBadFraming},
      {"Row19Comma", WithLength("5,"), kBadFraming},
      {"Row19Point", WithLength("5.0"), kBadFraming},
      {"Row19VerticalTab",
       WithLength("\x0b"
                  "5"),
       kBadFraming},
      {"Row19Nul", WithLength("5\0"s), kBadFraming},
      {"Row19Over64Bit", WithLength("18446744073709551621"), kBadFraming},
      {"Row20EmptyCl", WithLength(""), kBadFraming},
      {"Row20EmptyClThenNumber", kPost + "Content-Length:\r\n" + cl + "\r\nhello", kBadFraming},
      {"Row21Over63Bit", WithLength("9223372036854775813"), kBadFraming},
      {"ClTrailingSpace", WithLength("5  "), "POST a / 1.1 body 5;data hello;end;"},
      {"ClLeadingZeros", WithLength("0005"), "POST a / 1.1 body 5;data hello;end;"},
      {"ClZero", WithLength("0"), "POST a / 1.1 body 0;end;in head;"},
  };
}

std::vector<RequestCase> ChunkCases() {
  const auto chunk = [](const std::string& body) { return kChunked + body; };
  const std::string hello = kChunkedHead + "data hello;";
  return {
      {"Row22Hex0x", chunk("0x5\r\nhello\r\n0\r\n\r\n"), kBadChunk},
      {"Row22Plus", chunk("+5\r\nhello\r\n0\r\n\r\n"), kBadChunk},
      {"Row22MinusZero", chunk("-0\r\n\r\n"), kBadChunk},
      {"Row22Underscore", chunk("0_5\r\nhello\r\n0\r\n\r\n"), kBadChunk},
      {"Row22LeadingSpace", chunk(" 5\r\nhello\r\n0\r\n\r\n"), kBadChunk},
      {"Row22Letters", chunk("5xyz\r\nhello\r\n0\r\n\r\n"), kBadChunk},
      {"Row22Empty", chunk("\r\n\r\n"), kBadChunk},
      {"Row22NoDigits", chunk(";a\r\n"), kBadChunk},
      {"Row22Z", chunk("Z\r\n"), kBadChunk},
      {"Row22TrailingSpace", chunk("5 \r\nhello\r\n0\r\n\r\n"), kBadChunk},
      {"Row23Over64Bit", chunk("10000000000000005\r\nhello\r\n0\r\n\r\n"), kBadChunk},
      {"Row23AllOnes", chunk("ffffffffffffffff\r\nhello\r\n0\r\n\r\n"), kBadChunk},
      {"Row23Over32BitIsNotFive", chunk("100000005\r\nhello\r\n0\r\n\r\n"),
       kChunkedHead + "data hello\r\n0\r\n\r\n;in body;"},
      {"Row24LfAfterSize", chunk("5\nhello\r\n0\r\n\r\n"), kBadChunk},
      {"Row24LfAfterData", chunk("5\r\nhello\n0\r\n\r\n"), hello + kBadFraming},
      {"Row24LfInExtension", chunk("5;a\nhello\r\n0\r\n\r\n"), kBadChunk},
      {"Row24LfInQuotes", chunk("5;a=\"\n\"\r\nhello\r\n0\r\n\r\n"), kBadChunk},
      {"Row24LfAfterLastChunk", chunk("5\r\nhello\r\n0\n\r\n"), hello + kBadFraming},
      {"Row24LfEndsTrailers", chunk("5\r\nhello\r\n0\r\n\n"), hello + kMalformed},
      {"Row25CrAfterSize", chunk("5\rhello\r\n0\r\n\r\n"), kBadChunk},
      {"Row25CrCr", chunk("2\r\r;a\r\n02\r\n2d\r\n0\r\n\r\n"), kBadChunk},
      {"Row25CrInExtension", chunk("5;a\rb\r\nhello\r\n0\r\n\r\n"), kBadChunk},
      {"Row26TooLong", chunk("5\r\nhelloo\r\n0\r\n\r\n"), hello + kBadFraming},
      {"Row26NoLineEnd", chunk("5\r\nhello0\r\n\r\n"), hello + kBadFraming},
      {"Row26CrOnly", chunk("5\r\nhello\rX0\r\n\r\n"), hello + kBadFraming},
      {"Row27LongExtension", chunk("5;" + std::string(70000, 'a') + "\r\nhello\r\n0\r\n\r\n"),
       kBadChunk},
      {"Row28Extension", chunk("5;a=b\r\nhello\r\n0;x\r\n\r\n"), hello + "end;"},
      {"Row28Quoted", chunk("5;a=\"b;\\\"c\"\r\nhello\r\n0\r\n\r\n"), hello + "end;"},
      {"Row28Several", chunk("5 ; a = b ;c;d=\"\"\r\nhello\r\n0\r\n\r\n"), hello + "end;"},
      {"Row28LeadingZeros", chunk("0000000000000000005\r\nhello\r\n000\r\n\r\n"), hello + "end;"},
      {"Row28UpperCase", chunk("A\r\n0123456789\r\na\r\nabcdefghij\r\n0\r\n\r\n"),
       kChunkedHead + "data 0123456789abcdefghij;end;"},
      {"QuoteIsNotClosed", chunk("5;a=\"b\r\nhello\r\n0\r\n\r\n"), kBadChunk},
      {"NulInExtension", chunk("5;a\0b\r\nhello\r\n0\r\n\r\n"s), kBadChunk},
      {"EndlessZeros", chunk(std::string(40, '0') + "\r\n\r\n"), kBadChunk},
      {"Row29TrailersAreNotMerged", chunk("0\r\nContent-Length: 5\r\nX-Sum: 1 \r\n\r\n"),
       kChunkedHead + "trailer Content-Length: 5;trailer X-Sum: 1;end;"},
      {"Row30TrailerWithoutColon", chunk("0\r\nBad\r\n\r\n"), kChunkedHead + kMalformed},
      {"TrailerEmptyName", chunk("0\r\n: v\r\n\r\n"), kChunkedHead + kMalformed},
      {"TrailerSpaceBeforeColon", chunk("0\r\nX : v\r\n\r\n"), kChunkedHead + kMalformed},
      {"TrailerFold", chunk("0\r\nX: v\r\n w\r\n\r\n"), kChunkedHead + kMalformed},
      {"TrailerBareLf", chunk("0\r\nX: v\nY: w\r\n\r\n"), kChunkedHead + kMalformed},
      {"TrailerBareCr", chunk("0\r\nX: v\rY: w\r\n\r\n"), kChunkedHead + kMalformed},
      {"TrailerNul", chunk("0\r\nX: \0\r\n\r\n"s), kChunkedHead + kMalformed},
      {"NextRequestBehind", chunk("5\r\nhello\r\n0\r\n\r\n" + kGet + "\r\n"), hello + "end;" + kOk},
  };
}

std::vector<RequestCase> LineAndHostCases() {
  const std::string expect = "Content-Length: 1\r\nExpect: ";
  return {
      {"Row32ExpectExact", kPost + expect + "100-Continue\r\n\r\nx",
       "POST a / 1.1 body 1 expect;data x;end;"},
      {"Row32ExpectPrefix", kPost + expect + "y 100-continue\r\n\r\nx",
       "error expectation_failed client;"},
      {"Row32ExpectFolded", kPost + "Expect: 100-continue\r\n Expect: y 100-continue\r\n\r\n",
       kMalformed},
      {"Row32ExpectSecondField", kPost + expect + "100-continue\r\nExpect: x\r\n\r\n",
       "error expectation_failed client;"},
      {"ExpectFromHttp10IsIgnored", "POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: x\r\n\r\nx",
       "POST  / 1.0 body 1 close;data x;end;"},
      {"ExpectWithoutBody", kGet + "Expect: 100-continue\r\n\r\n", kOk},
      {"Row35DuplicateHost", kGet + "Host: a\r\n\r\n", kBadHost},
      {"Row35HostList", WithHost("a, b"), kBadHost},
      {"Row35HostComma", WithHost("a,b"), kBadHost},
      {"Row35UserInfo", WithHost("u@a"), kBadHost},
      {"Row35Slash", WithHost("a/evil"), kBadHost},
      {"Row35Space", WithHost("a evil"), kBadHost},
      {"Row35PortLetters", WithHost("a:8x"), kBadHost},
      {"Row35PortTooLarge", WithHost("a:65536"), kBadHost},
      {"Row35PortSigned", WithHost("a:+80"), kBadHost},
      {"Row35TwoPorts", WithHost("a:80:80"), kBadHost},
      {"Row35Missing", "GET / HTTP/1.1\r\n\r\n", kBadHost},
      {"Row35Empty", WithHost(""), kBadHost},
      {"Row35PortOnly", WithHost(":80"), kBadHost},
      {"Row35Ipv6", WithHost("[2001:db8::1]:80"), "GET [2001:db8::1]:80 / 1.1 body none;end;"},
      {"Row35BadIpv6", WithHost("[2001:db8::zz]"), kBadHost},
      {"Row35OpenBracket", WithHost("[::1"), kBadHost},
      {"Row35BehindBracket", WithHost("[::1]x"), kBadHost},
      {"HostUtf8", WithHost("\xc3\xa4.test"), kBadHost},
      {"HostPercent", WithHost("%61"), kBadHost},
      {"HostEmptyPort", WithHost("a:"), "GET a: / 1.1 body none;end;"},
      {"HostMissingInHttp10", "GET / HTTP/1.0\r\n\r\n", "GET  / 1.0 body none close;end;"},
      {"HostInvalidInHttp10", "GET / HTTP/1.0\r\nHost: a b\r\n\r\n", kBadHost},
      {"Row36AbsoluteForm", "GET http://b.test/x?y HTTP/1.1\r\nHost: a.test\r\n\r\n",
       "GET http b.test /x?y 1.1 body none;end;"},
      {"AbsoluteFormUpperCase", WithTarget("HTTPS://b.test:8443"),
       "GET HTTPS b.test:8443 / 1.1 body none;end;"},
      {"AbsoluteFormQueryOnly", WithTarget("http://b?q"), "GET http b /?q 1.1 body none;end;"},
      {"AbsoluteFormUserInfo", WithTarget("http://u:p@b/"), kBadHost},
      {"AbsoluteFormNoHost", WithTarget("http:///x"), kBadHost},
      {"AbsoluteFormStillNeedsHost", "GET http://b/ HTTP/1.1\r\n\r\n", kBadHost},
      {"Row37At", WithTarget("@evil/"), kMalformed},
      {"Row37NoSlash", WithTarget("foo"), kMalformed},
      {"Row37Ftp", WithTarget("ftp://a/"), kMalformed},
      {"Row37Fragment", WithTarget("/x#frag"), kMalformed},
      {"Row37FragmentInQuery", WithTarget("/x?y#frag"), kMalformed},
      {"Row37Asterisk", WithTarget("*"), kMalformed},
      {"Row37QueryOnly", WithTarget("?x"), kMalformed},
      {"OptionsAsterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
       "OPTIONS a * 1.1 body none;end;"},
      {"OptionsAbsoluteForm", "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n",
       "OPTIONS http b * 1.1 body none;end;"},
      {"Row38TwoVersions", "GET /x HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", kMalformed},
      {"Row38TabFirst", "GET\t/x HTTP/1.1\r\nHost: a\r\n\r\n", kMalformed},
      {"Row38TabSecond", "GET /x\tHTTP/1.1\r\nHost: a\r\n\r\n", kMalformed},
      {"Row38TwoSpaces", "GET  /x HTTP/1.1\r\nHost: a\r\n\r\n", kMalformed},
      {"Row38TrailingSpace", "GET /x HTTP/1.1 \r\nHost: a\r\n\r\n", kMalformed},
      {"Row38LeadingSpace", " GET /x HTTP/1.1\r\nHost: a\r\n\r\n", kMalformed},
      {"Row38NulInTarget", WithTarget("/a\0b"s), kMalformed},
      {"Row38CtlInTarget",
       WithTarget("/a\x01"
                  "b"),
       kMalformed},
      {"Row38DelInTarget",
       WithTarget("/a\x7f"
                  "b"),
       kMalformed},
      {"Row38TabInTarget", WithTarget("/0123456789\tb"), kMalformed},
      {"Row39Http09", "GET /\r\n", kMalformed},
      {"Row39Http09Version", "GET / HTTP/0.9\r\n", "error unsupported_version client;"},
      {"Row39Http110", "GET / HTTP/1.10\r\n", kMalformed},
      {"Row39Http2", "GET / HTTP/2.0\r\n", "error unsupported_version client;"},
      {"Row39Http2Preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
       "error unsupported_version client;"},
      {"Row39Overflow", "GET / HTTP/4294967297.1\r\n", kMalformed},
      {"Row39LowerCase", "GET / http/1.1\r\n", kMalformed},
      {"Row39NoMinor", "GET / HTTP/1\r\n", kMalformed},
      {"Row39OtherProtocol", "GET / ICE/1.1\r\n", kMalformed},
      {"HigherMinorIsHttp11", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", kOk},
      {"Row40Connect", "CONNECT b:22 HTTP/1.1\r\nHost: b:22\r\n\r\n",
       "CONNECT b:22  1.1 body none;end;"},
      {"Row40ConnectWithoutPort", "CONNECT b HTTP/1.1\r\nHost: b\r\n\r\n", kMalformed},
      {"Row40ConnectPath", "CONNECT /x HTTP/1.1\r\nHost: b\r\n\r\n", kMalformed},
      {"Row41Trace", "TRACE / HTTP/1.1\r\nHost: a\r\nCookie: x\r\n\r\n",
       "TRACE a / 1.1 body none;end;"},
      {"Row42UnderscoreTe", kPost + "Transfer_Encoding: chunked\r\n\r\n", kBadFraming},
      {"Row42UnderscoreCl", kPost + "CONTENT_LENGTH: 5\r\n\r\n", kBadFraming},
      {"EmptyValues", kGet + "X:\r\nY: \t \r\nZ:\r\n\r\n", kOk},
      {"OtherUnderscoresPass", kGet + "X_Y: 1\r\n\r\n", kOk},
      {"Row43FramingIgnoresConnection",
       kPost + "Connection: content-length, host\r\nContent-Length: 2\r\n\r\nhi",
       "POST a / 1.1 body 2;data hi;end;"},
      {"UnknownMethodPasses", "BREW-IT /pot HTTP/1.1\r\nHost: a\r\n\r\n",
       "BREW-IT a /pot 1.1 body none;end;"},
      {"MethodIsCaseSensitive", "get / HTTP/1.1\r\nHost: a\r\n\r\n", "get a / 1.1 body none;end;"},
      {"MethodWithBadCharacter", "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", kMalformed},
      {"TlsHelloFailsAtOnce", "\x16\x03\x01\x02", kMalformed},
      {"EmptyLinesBefore", "\r\n\r\n" + kGet + "\r\n", kOk},
      {"ManyEmptyLinesBefore", "\r\n\r\n\r\n\r\n\r\n" + kGet + "\r\n", kMalformed},
      {"CloseAsked", kGet + "Connection: x, CLOSE\r\n\r\n", "GET a / 1.1 body none close;end;"},
      {"CloseInSecondField", kGet + "Connection: keep-alive\r\nConnection: close\r\n\r\n",
       "GET a / 1.1 body none close;end;"},
      {"Http10KeepAlive", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
       "GET  / 1.0 body none;end;"},
      {"EmptyQueryIsAQuery", WithTarget("/a?"), "GET a /a? 1.1 body none;end;"},
      {"RawUtf8InTargetPasses", WithTarget("/\xc3\xa4?\xc3\xb6"),
       "GET a /\xc3\xa4?\xc3\xb6 1.1 body none;end;"},
      {"Pipelined", kGet + "\r\n" + kPost + "Content-Length: 2\r\n\r\nhi" + kGet + "\r\n",
       kOk + "POST a / 1.1 body 2;data hi;end;" + kOk},
  };
}

class Http1RequestTest : public testing::TestWithParam<RequestCase> {};

std::string Lines(std::string text) {
  for (char& c : text) {
    if (c == ';') c = '\n';
  }
  return text;
}

TEST_P(Http1RequestTest, IsDecodedAsExpected) {
  const RequestCase& test = GetParam();
  EXPECT_EQ(Transcript({}, {test.bytes}), Lines(test.expected));
}

TEST_P(Http1RequestTest, DoesNotDependOnHowTheBytesAreCut) {
  const std::string& bytes = GetParam().bytes;
  const std::string expected = Transcript({.with_fields = true}, {bytes});
  EXPECT_EQ(Transcript({.with_fields = true}, BytesOf(bytes)), expected);
  if (bytes.size() > 1000) return;
  for (size_t cut = 1; cut < bytes.size(); ++cut) {
    const std::string_view all = bytes;
    ASSERT_EQ(Transcript({.with_fields = true}, {all.substr(0, cut), all.substr(cut)}), expected)
        << "cut at " << cut;
  }
}

std::string NameOf(const testing::TestParamInfo<RequestCase>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Smuggling, Http1RequestTest, testing::ValuesIn(SmugglingCases()), NameOf);
INSTANTIATE_TEST_SUITE_P(Chunks, Http1RequestTest, testing::ValuesIn(ChunkCases()), NameOf);
INSTANTIATE_TEST_SUITE_P(LineAndHost, Http1RequestTest, testing::ValuesIn(LineAndHostCases()),
                         NameOf);

}  // namespace
}  // namespace sluice
