// Collects the head of one HTTP/1 message: finds the first line itself, lets llhttp find the
// fields, and then checks that the fields llhttp found cover the head without a gap:
//
//   start line CR LF { name ':' OWS value OWS CR LF } CR LF
//
// so that nothing that llhttp tolerates (folded lines, bare CR or LF) gets through. Owned by an
// Http1Decoder; used by it only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "gateway/base/result.h"
#include "gateway/http/codec.h"
#include "gateway/http/http1_codec.h"
#include "gateway/http/message.h"

struct llhttp__internal_s;  // llhttp_t; NOLINT(bugprone-reserved-identifier)

namespace sluice {

class Http1HeadParser {
 public:
  enum class Progress : uint8_t { kNeedMore, kComplete, kFailed };
  using Role = Http1Decoder::Role;

  Http1HeadParser(Role role, const CodecLimits& limits);
  ~Http1HeadParser();

  // Forgets the last head and keeps its memory.
  void Start();
  void ReleaseMemory();

  // Takes bytes from the front of `input`, up to the end of the head. The head may come in any
  // number of pieces; none is looked at twice.
  Progress Read(std::string_view& input);

  // After kComplete. Views into this parser, until Start().
  std::string_view method() const { return View(0, method_size_); }
  std::string_view target() const;
  std::string_view reason() const;
  HttpVersion version() const { return version_; }
  int status() const { return status_; }
  // Replaces `fields` by those of the head, whose syntax CheckRequest or CheckResponse checks
  // further. kComplete or kFailed.
  Progress SplitFields(HeaderList& fields);

  const Error& error() const { return error_; }  // after kFailed

 private:
  Progress ReadStartLine(std::string_view& input);
  Progress ParseStartLine();
  Progress ReadFields(std::string_view& input);
  std::string_view View(size_t offset, size_t size) const { return {head_.data() + offset, size}; }
  bool is_server() const { return role_ == Role::kServer; }
  Progress Fail(Error error);
  Progress FailMalformed(std::string detail);
  Progress FailStartLineTooLong(size_t limit);
  Progress FailTooLarge(uint32_t limit, std::string_view unit);
  Progress FailParser();

  const Role role_;
  bool has_start_line_ = false;
  HttpVersion version_ = HttpVersion::kHttp11;
  const CodecLimits& limits_;
  uint32_t start_line_size_ = 0;  // without CR LF
  uint32_t method_size_ = 0;
  int status_ = 0;
  std::string head_;
  std::unique_ptr<llhttp__internal_s> parser_;
  Error error_;
};

}  // namespace sluice
