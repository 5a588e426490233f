// The output side of the codec; http2_codec.cc has the input side.
#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <utility>

#include <nghttp2/nghttp2.h>

#include "gateway/http/http2_codec.h"

namespace sluice {
namespace {

// Pieces of body up to this are cheaper to copy than to send from where they are.
constexpr size_t kCopyLimit = 512;
constexpr size_t kFrameHead = 9;

constexpr std::array<uint8_t, 8> kDrainPing = {'d', 'r', 'a', 'i', 'n'};
constexpr std::array<uint8_t, 8> kAlivePing = {'a', 'l', 'i', 'v', 'e'};

const uint8_t* Bytes(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

std::string_view Text(const uint8_t* bytes, size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

// Not copied by us: nghttp2 does, and turns names to lower case.
nghttp2_nv MakeField(std::string_view name, std::string_view value) {
  return {const_cast<uint8_t*>(Bytes(name)), const_cast<uint8_t*>(Bytes(value)), name.size(),
          value.size(), NGHTTP2_NV_FLAG_NONE};
}

// Fields as nghttp2 takes them; one list for all that is submitted, on this thread.
std::vector<nghttp2_nv>& FieldArray() {
  static thread_local std::vector<nghttp2_nv> fields;
  fields.clear();
  return fields;
}

// The text of a status lives as long as this.
struct StatusDigits {
  explicit StatusDigits(int status) { std::to_chars(digits.begin(), digits.end(), status); }
  std::string_view view() const { return {digits.data(), digits.size()}; }

  std::array<char, 3> digits{};
};

void AddFields(std::vector<nghttp2_nv>& out, std::span<const Http2Field> fields) {
  for (const Http2Field& field : fields) out.push_back(MakeField(field.name, field.value));
}

}  // namespace

// What nghttp2 calls while it makes output.
struct Http2Codec::OutputCallbacks {
  static Http2Codec& Codec(void* user) { return *static_cast<Http2Codec*>(user); }

  // NOLINTNEXTLINE(readability-function-size): the parameters are nghttp2's
  static ssize_t Read(nghttp2_session*, int32_t, uint8_t*, size_t size, uint32_t* flags,
                      nghttp2_data_source* source, void* user) noexcept {
    return ReadBody(Codec(user), *static_cast<Http2Stream*>(source->ptr), size, *flags);
  }

  // Only says how much; AppendBody takes it from the stream.
  static ssize_t ReadBody(Http2Codec& codec, Http2Stream& stream, size_t size, uint32_t& flags) {
    const size_t available = stream.body_.size();
    if (available == 0 && stream.aborted_) {
      return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;  // RST_STREAM with INTERNAL_ERROR
    }
    if (available == 0 && !stream.local_ended_) {
      stream.deferred_ = true;
      return NGHTTP2_ERR_DEFERRED;
    }
    flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (available > size || !stream.local_ended_) {
      return static_cast<ssize_t>(std::min(size, available));
    }
    flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!stream.known_rest().trailers_to_send.empty()) {
      std::vector<nghttp2_nv>& fields = FieldArray();
      AddFields(fields, stream.known_rest().trailers_to_send);
      flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      nghttp2_submit_trailer(codec.session_.get(), stream.id_, fields.data(), fields.size());
    }
    return static_cast<ssize_t>(available);
  }

  // NOLINTNEXTLINE(readability-function-size): the parameters are nghttp2's
  static int SendData(nghttp2_session*, nghttp2_frame*, const uint8_t* head, size_t size,
                      nghttp2_data_source* source, void* user) noexcept {
    if (Codec(user).output_size_ >= Codec(user).output_limit_) return NGHTTP2_ERR_WOULDBLOCK;
    Codec(user).AppendBody(*static_cast<Http2Stream*>(source->ptr), Text(head, kFrameHead), size);
    return 0;
  }

  static nghttp2_data_provider Provider(Http2Stream& stream) {
    return {.source = {.ptr = &stream}, .read_callback = Read};
  }
};

std::string Http2Codec::Library() {
  return std::string("nghttp2 ") + nghttp2_version(0)->version_str;
}

void Http2Codec::RegisterOutput(nghttp2_session_callbacks* set) {
  nghttp2_session_callbacks_set_send_data_callback(set, OutputCallbacks::SendData);
}

Http2Stream* Http2Codec::SubmitRequest(Method method, std::span<const Http2Field> fields,
                                       bool ended) {
  if (!can_open_stream()) return nullptr;
  Http2Stream& stream = OpenStream(nghttp2_session_get_next_stream_id(session_.get()));
  stream.request_method_ = method;
  stream.announced_ = true;
  stream.local_ended_ = ended;
  std::vector<nghttp2_nv>& all = FieldArray();
  AddFields(all, fields);
  const nghttp2_data_provider provider = OutputCallbacks::Provider(stream);
  const int32_t id = nghttp2_submit_request(session_.get(), nullptr, all.data(), all.size(),
                                            ended ? nullptr : &provider, &stream);
  SLUICE_CHECK(id == stream.id_);
  return &stream;
}

void Http2Codec::SubmitResponse(Http2Stream& stream, int status, std::span<const Http2Field> fields,
                                bool ended) {
  if (stream.closed_) return;
  stream.local_ended_ = ended;
  const StatusDigits code(status);
  std::vector<nghttp2_nv>& all = FieldArray();
  all.push_back(MakeField(":status", code.view()));
  AddFields(all, fields);
  const nghttp2_data_provider provider = OutputCallbacks::Provider(stream);
  const int error = nghttp2_submit_response(session_.get(), stream.id_, all.data(), all.size(),
                                            ended ? nullptr : &provider);
  SLUICE_CHECK(error == 0);
}

void Http2Codec::SubmitInformational(Http2Stream& stream, int status,
                                     std::span<const Http2Field> fields) {
  if (stream.closed_) return;
  const StatusDigits code(status);
  std::vector<nghttp2_nv>& all = FieldArray();
  all.push_back(MakeField(":status", code.view()));
  AddFields(all, fields);
  const int error = nghttp2_submit_headers(session_.get(), NGHTTP2_FLAG_NONE, stream.id_, nullptr,
                                           all.data(), all.size(), nullptr);
  SLUICE_CHECK(error == 0);
}

void Http2Codec::SubmitData(Http2Stream& stream, std::string_view lent) {
  if (stream.closed_ || lent.empty()) return;
  stream.body_.Add(lent);
  Touch(stream);
  Resume(stream);
}

void Http2Codec::SubmitEnd(Http2Stream& stream, std::span<const Http2Field> trailers) {
  if (stream.closed_) return;
  stream.local_ended_ = true;
  for (const Http2Field& field : trailers) {
    stream.rest().trailers_to_send.push_back(
        {stream.arena_.Copy(field.name), stream.arena_.Copy(field.value)});
  }
  Resume(stream);
}

void Http2Codec::SubmitAbort(Http2Stream& stream) {
  if (stream.closed_) return;
  stream.aborted_ = stream.reset_by_owner_ = stream.rejected_ = true;
  Resume(stream);
}

void Http2Codec::Resume(Http2Stream& stream) {
  if (std::exchange(stream.deferred_, false)) {
    nghttp2_session_resume_data(session_.get(), stream.id_);
  }
}

void Http2Codec::Reset(Http2Stream& stream, Http2ErrorCode code) {
  if (stream.closed_) return;
  stream.reset_by_owner_ = stream.rejected_ = true;
  nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, stream.id_,
                            static_cast<uint32_t>(code));
}

void Http2Codec::StopReceiving(Http2Stream& stream) {
  stream.unwanted_ = true;
  if (!stream.end_sent_ || stream.remote_ended_ || stream.closed_) return;
  nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, stream.id_, NGHTTP2_NO_ERROR);
}

void Http2Codec::Consume(Http2Stream& stream, size_t count) {
  if (stream.closed_) return;  // the connection has it back
  count = std::min(count, stream.unconsumed_);
  stream.unconsumed_ -= count;
  nghttp2_session_consume(session_.get(), stream.id_, count);
}

std::span<const std::string_view> Http2Codec::Pull(Arena& scratch, size_t limit) {
  output_.clear();
  output_size_ = 0;
  output_limit_ = limit;
  scratch_ = &scratch;
  while (output_size_ < output_limit_) {
    const uint8_t* bytes = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_.get(), &bytes);
    if (size <= 0) break;
    Append(Text(bytes, static_cast<size_t>(size)));
  }
  scratch_ = nullptr;
  return output_;
}

void Http2Codec::Append(std::string_view bytes) {
  const std::string_view copy = scratch_->Copy(bytes);
  output_size_ += bytes.size();
  if (!output_.empty() && output_.back().data() + output_.back().size() == copy.data()) {
    output_.back() = {output_.back().data(), output_.back().size() + copy.size()};
  } else {
    output_.push_back(copy);
  }
}

void Http2Codec::AppendBody(Http2Stream& stream, std::string_view frame_head, size_t size) {
  Append(frame_head);
  stream.sent_ += size;
  meter_.OnDataSent();
  Touch(stream);
  while (size > 0) {
    const Http2BodyQueue::Piece piece = stream.body_.Front(size);
    // What the queue keeps goes when it is taken; what is lent stays until the callback ends.
    if (piece.is_kept || piece.bytes.size() <= kCopyLimit) {
      Append(piece.bytes);
    } else {
      output_.push_back(piece.bytes);
      output_size_ += piece.bytes.size();
    }
    size -= piece.bytes.size();
    stream.body_.Pop(piece.bytes.size());
  }
}

void Http2Codec::Touch(Http2Stream& stream) {
  if (!std::exchange(stream.touched_, true)) touched_.push_back(&stream);
}

void Http2Codec::HoldLent(Arena& scratch) {
  for (Http2Stream* stream : touched_) stream->body_.Hold(scratch);
}

void Http2Codec::KeepLent() {
  for (Http2Stream* stream : touched_) {
    stream->touched_ = false;
    stream->body_.Keep();
    if (stream->closed_) continue;
    const size_t unsent = stream->body_.size();
    const size_t limit = http2_limits_.blocked;
    if (stream->blocked_ ? unsent > limit / 2 : unsent <= limit) continue;
    stream->blocked_ = !stream->blocked_;
    events_.push_back(
        {.kind = stream->blocked_ ? Http2Event::Kind::kBlocked : Http2Event::Kind::kWritable,
         .stream = stream});
  }
  touched_.clear();
}

bool Http2Codec::has_output() const { return nghttp2_session_want_write(session_.get()) != 0; }

bool Http2Codec::finished() const {
  return nghttp2_session_want_read(session_.get()) == 0 && !has_output();
}

bool Http2Codec::can_open_stream() const {
  return nghttp2_session_check_request_allowed(session_.get()) != 0 &&
         open_streams_ < nghttp2_session_get_remote_settings(
                             session_.get(), NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

void Http2Codec::Ping() {
  nghttp2_submit_ping(session_.get(), NGHTTP2_FLAG_NONE, kAlivePing.data());
}

void Http2Codec::BeginDrain() {
  if (std::exchange(draining_, true)) return;
  nghttp2_submit_shutdown_notice(session_.get());
}

void Http2Codec::EndDrain() {
  if (broken_ || std::exchange(drained_, true)) return;
  nghttp2_submit_goaway(session_.get(), NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(session_.get()), NGHTTP2_NO_ERROR,
                        nullptr, 0);
}

void Http2Codec::Terminate(Http2ErrorCode code) {
  broken_ = true;
  nghttp2_session_terminate_session(session_.get(), static_cast<uint32_t>(code));
}

// The answer to a PING behind it says that the peer has seen it.
void Http2Codec::OnGoawaySent() {
  if (!draining_ || std::exchange(drain_ping_sent_, true)) return;
  nghttp2_submit_ping(session_.get(), NGHTTP2_FLAG_NONE, kDrainPing.data());
}

void Http2Codec::OnPong(uint8_t mark) {
  if (mark == kAlivePing[0]) {
    events_.push_back({.kind = Http2Event::Kind::kPong});
  } else if (mark == kDrainPing[0] && draining_) {
    nghttp2_submit_goaway(session_.get(), NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(session_.get()), NGHTTP2_NO_ERROR,
                          nullptr, 0);
  }
}

}  // namespace sluice
