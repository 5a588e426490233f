#include "gateway/http/http2_stream.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace sluice {
namespace {

// What RFC 9113 6.5.2 adds to each field.
constexpr size_t kFieldOverhead = 32;

std::string_view Join(const std::vector<std::string_view>& crumbs, Arena& arena) {
  constexpr std::string_view kSeparator = "; ";
  size_t size = kSeparator.size() * (crumbs.size() - 1);
  for (const std::string_view crumb : crumbs) size += crumb.size();
  char* const start = arena.Allocate(size);
  char* out = start;
  for (const std::string_view crumb : crumbs) {
    if (out != start) out = std::copy(kSeparator.begin(), kSeparator.end(), out);
    out = std::copy(crumb.begin(), crumb.end(), out);
  }
  return {start, size};
}

// Copies an empty text to something that is not null: absent and empty differ.
std::string_view CopyPresent(std::string_view text, Arena& arena) {
  return text.empty() ? std::string_view("") : arena.Copy(text);
}

}  // namespace

void Http2FieldCollector::Start(HeaderList& fields, uint32_t max_bytes, uint32_t max_fields) {
  fields.Clear();
  fields_ = &fields;
  pseudo_ = {};
  cookies_.clear();
  bytes_ = count_ = 0;
  max_bytes_ = max_bytes;
  max_fields_ = max_fields;
  too_large_ = pseudo_refused_ = false;
}

void Http2FieldCollector::Add(std::string_view name, std::string_view value, Arena& arena) {
  bytes_ += name.size() + value.size() + kFieldOverhead;
  if (too_large_ || bytes_ > max_bytes_) {
    too_large_ = true;
    return;
  }
  if (!name.empty() && name.front() == ':' && AddPseudo(name, value, arena)) return;
  const HeaderId id = FindHeaderId(name);
  if (id == HeaderId::kCookie) {
    cookies_.push_back(arena.Copy(value));
    if (cookies_.size() > 1) return;
  }
  if (++count_ > max_fields_) {
    too_large_ = true;
    return;
  }
  fields_->Add({arena.Copy(name), arena.Copy(value), id});
}

bool Http2FieldCollector::AddPseudo(std::string_view name, std::string_view value, Arena& arena) {
  std::string_view* const place = FindPseudo(name);
  const bool too_late = count_ > 0;
  if (place == nullptr || place->data() != nullptr || too_late || pseudo_refused_) return false;
  *place = CopyPresent(value, arena);
  return true;
}

std::string_view* Http2FieldCollector::FindPseudo(std::string_view name) {
  switch (name.size()) {
    case 5:
      return name == ":path" ? &pseudo_.path : nullptr;
    case 7:
      if (name == ":method") return &pseudo_.method;
      if (name == ":scheme") return &pseudo_.scheme;
      return name == ":status" ? &pseudo_.status : nullptr;
    case 9:
      return name == ":protocol" ? &pseudo_.protocol : nullptr;
    case 10:
      return name == ":authority" ? &pseudo_.authority : nullptr;
    default:
      return nullptr;
  }
}

void Http2FieldCollector::Finish(Arena& arena) {
  if (cookies_.size() < 2) return;
  HeaderList joined;
  for (HeaderField field : *fields_) {
    if (field.id == HeaderId::kCookie) field.value = Join(cookies_, arena);
    joined.Add(field);
  }
  *fields_ = std::move(joined);
}

void Http2BodyQueue::Add(std::string_view lent) {
  if (lent.empty()) return;
  lent_.push_back(lent);
  size_ += lent.size();
}

Http2BodyQueue::Piece Http2BodyQueue::Front(size_t limit) const {
  if (!kept_.empty()) return {kept_.view().substr(0, limit), true};
  return {lent_[lent_taken_].substr(0, limit), false};
}

void Http2BodyQueue::Pop(size_t count) {
  size_ -= count;
  if (!kept_.empty()) return kept_.Consume(count);
  std::string_view& front = lent_[lent_taken_];
  front.remove_prefix(count);
  if (front.empty()) ++lent_taken_;
}

void Http2BodyQueue::Hold(Arena& scratch) {
  held_ = std::max(held_, lent_taken_);
  for (; held_ < lent_.size(); ++held_) lent_[held_] = scratch.Copy(lent_[held_]);
}

void Http2BodyQueue::Keep() {
  for (size_t i = lent_taken_; i < lent_.size(); ++i) kept_.Append(lent_[i]);
  lent_.clear();
  lent_taken_ = held_ = 0;
}

void Http2BodyQueue::Clear() {
  kept_.Clear();
  lent_.clear();
  lent_taken_ = held_ = size_ = 0;
}

void Http2Stream::Reset() {
  if (std::exchange(has_rest_, false)) {
    rest_.interim.clear();
    rest_.trailers.Clear();
    rest_.trailers_to_send.clear();
    rest_.error = Error();
  }
  body_.Clear();
  arena_.Reset();
  id_ = 0;
  request_method_ = Method::kGet;
  announced_ = rejected_ = malformed_ = head_done_ = remote_ended_ = local_ended_ = aborted_ =
      closed_ = false;
  touched_ = deferred_ = blocked_ = reset_by_owner_ = head_held_ = last_byte_held_ = false;
  end_sent_ = unwanted_ = false;
  unconsumed_ = 0;
  received_ = sent_ = 0;
  owner_ = nullptr;
}

const Http2Stream::Rest& Http2Stream::NoRest() {
  static const Rest none;
  return none;
}

bool Http2StreamIds::Open(int32_t id) {
  if (id > last_) {
    if (id > last_ + 2 && gaps_.size() < kMostGaps) gaps_.push_back({last_ + 2, id - 2});
    last_ = id;
    return true;
  }
  return std::none_of(gaps_.begin(), gaps_.end(),
                      [id](const Gap& gap) { return id >= gap.first && id <= gap.last; });
}

std::unique_ptr<Http2Stream> Http2StreamPool::Take() {
  if (free_.empty()) return std::make_unique<Http2Stream>();
  std::unique_ptr<Http2Stream> stream = std::move(free_.back());
  free_.pop_back();
  return stream;
}

void Http2StreamPool::Give(std::unique_ptr<Http2Stream> stream) {
  stream->Reset();
  if (free_.size() < kMostFree) free_.push_back(std::move(stream));
}

}  // namespace sluice
