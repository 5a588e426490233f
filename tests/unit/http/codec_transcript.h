// Runs a decoder over bytes in given pieces and writes down what it said, one line an event, so
// that a test compares texts and two ways to cut the same bytes can be compared with each other.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gateway/http/http1_codec.h"

namespace sluice {

struct TranscriptOptions {
  Http1Decoder::Role role = Http1Decoder::Role::kServer;
  CodecLimits limits = {};
  Method request_method = Method::kGet;  // client role: of every request
  bool eof = false;                      // the peer closes after the bytes
  bool with_fields = false;              // list the header fields of heads
  bool with_detail = false;              // append the error's detail
};

// "GET / [body none] …", "data hello" (adjacent pieces joined), "trailer a: b", "end",
// "error bad_framing client", and "more" when a message is unfinished at the end of the bytes.
std::string Transcript(const TranscriptOptions& options,
                       const std::vector<std::string_view>& pieces);

// The bytes cut into pieces of one byte.
std::vector<std::string_view> BytesOf(std::string_view text);

}  // namespace sluice
