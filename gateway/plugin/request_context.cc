#include "gateway/plugin/request_context.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "gateway/base/json_writer.h"
#include "gateway/base/text.h"
#include "gateway/http/uri.h"
#include "gateway/plugin/chain_run.h"
#include "gateway/plugin/consumer.h"

namespace sluice {
namespace {

constexpr std::string_view kHidden = "***";  // in logs

bool IsControl(char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f; }

// Among eight bytes; a tab may be taken for one.
bool MayHaveControl(const char* bytes) {
  constexpr uint64_t kEach = 0x0101010101010101;
  uint64_t word;
  std::memcpy(&word, bytes, sizeof(word));
  const uint64_t deleted = word ^ (0x7f * kEach);
  const uint64_t below = ((word - 0x20 * kEach) & ~word) | ((deleted - kEach) & ~deleted);
  return (below & (0x80 * kEach)) != 0;
}

HeaderField MakeField(std::string_view name, std::string_view value, Arena& arena) {
  const std::string_view copy = CopyFieldValue(name, arena);
  return {copy, CopyFieldValue(value, arena), FindHeaderId(copy), true};
}

std::string_view FindValue(const HeaderList& fields, std::string_view name) {
  const HeaderField* const field = fields.Find(name);
  if (field == nullptr) return {};
  return field->value.data() == nullptr ? std::string_view("") : field->value;
}

// A query may hold what a client can send in one: neither controls nor spaces, nor a fragment.
bool IsQuery(std::string_view query) {
  return std::none_of(query.begin(), query.end(),
                      [](char c) { return IsControl(c) || c == '\t' || c == ' ' || c == '#'; });
}

bool HasDotSegment(std::string_view path) {
  while (!path.empty()) {
    const size_t end = std::min(path.find('/'), path.size());
    const std::string_view segment = path.substr(0, end);
    if (segment == "." || segment == "..") return true;
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return false;
}

}  // namespace

// By words, as values are short and nearly all are as they have to be.
std::string_view CopyFieldValue(std::string_view value, Arena& arena) {
  const size_t words = value.size() / sizeof(uint64_t) + 1;
  char* const copy = arena.Allocate(words * sizeof(uint64_t));
  char* const last = copy + (words - 1) * sizeof(uint64_t);
  std::memset(last, ' ', sizeof(uint64_t));
  value.copy(copy, value.size());
  bool any = false;
  for (const char* at = copy; at <= last; at += sizeof(uint64_t)) any |= MayHaveControl(at);
  if (any) std::replace_if(copy, copy + value.size(), IsControl, ' ');
  return TrimOws({copy, value.size()});  // never null
}

std::string_view RequestContext::Header(std::string_view name) const {
  return FindValue(head_->fields, name);
}

std::string_view RequestContext::Value(const Variable& variable) {
  const std::string_view value = variable.Value(*view_, scratch_);
  if (value.data() != scratch_.data() || value.empty()) return value;
  return arena_->Copy(value);
}

std::string_view RequestContext::Expand(const TextTemplate& text) {
  if (text.is_constant()) return text.text();
  expanded_.clear();
  text.AppendTo(expanded_, *view_, scratch_);
  return arena_->Copy(expanded_);
}

std::string_view RequestContext::ExpandKnown(const TextTemplate& text) {
  if (const Variable* const variable = text.only_variable()) return Value(*variable);
  expanded_.clear();
  if (text.AppendTo(expanded_, *view_, scratch_) == 0) return {};
  const std::string_view copy = arena_->Copy(expanded_);
  return copy.data() == nullptr ? std::string_view("") : copy;
}

std::string_view RequestContext::ExpandUri(const TextTemplate& text) {
  if (text.is_constant()) return text.text();
  expanded_.clear();
  text.AppendUriTo(expanded_, *view_, scratch_);
  return arena_->Copy(expanded_);
}

std::shared_ptr<SubRequestSender> RequestContext::sender() const { return run_.host_.sender(); }

std::string_view RequestContext::body_sample() const { return run_.sample_.view(); }

bool RequestContext::is_shadowed() const {
  return run_.current_ != nullptr && run_.current_->meta.shadow;
}

// --- changes -------------------------------------------------------------------------------------

void RequestContext::SetHeader(std::string_view name, std::string_view value) {
  if (is_shadowed()) return;
  const HeaderField field = MakeField(name, value, *arena_);
  if (field.id == HeaderId::kHost) return SetUpstreamHost(value);
  head_->fields.Set(field);
}

void RequestContext::AddHeader(std::string_view name, std::string_view value) {
  if (is_shadowed()) return;
  const HeaderField field = MakeField(name, value, *arena_);
  if (field.id == HeaderId::kHost) return SetUpstreamHost(value);
  head_->fields.Add(field);
}

void RequestContext::RemoveHeader(std::string_view name) {
  if (!is_shadowed()) head_->fields.Remove(name);
}

Status RequestContext::SetUpstreamUri(std::string_view uri) {
  const size_t mark = std::min(uri.find('?'), uri.size());
  SLUICE_ASSIGN_OR_RETURN(std::string_view path,
                          NormalizePath(arena_->Copy(uri.substr(0, mark)), *arena_));
  if (!path.starts_with('/') || HasDotSegment(uri.substr(0, mark))) {
    return ClientError(
        ErrorCode::kBadPath,
        "expected a path that begins with / and has no dot segments after a rewrite");
  }
  const std::string_view query = uri.substr(mark);
  if (!IsQuery(query)) {
    return ClientError(ErrorCode::kBadPath, "expected a query without spaces after a rewrite");
  }
  if (is_shadowed()) return {};
  char* const target = arena_->Allocate(path.size() + query.size());
  path.copy(target, path.size());
  query.copy(target + path.size(), query.size());
  rewrite_.target = {target, path.size() + query.size()};
  return {};
}

std::string_view RequestContext::upstream_uri() {
  if (!rewrite_.target.empty()) return rewrite_.target;
  if (!head_->has_query) return view_->path;
  scratch_.assign(view_->path).append("?").append(head_->query);
  return arena_->Copy(scratch_);
}

void RequestContext::SetUpstreamMethod(std::string_view method) {
  if (!is_shadowed()) rewrite_.method = arena_->Copy(method);
}

void RequestContext::SetUpstreamHost(std::string_view host) {
  if (!is_shadowed()) rewrite_.host = CopyFieldValue(host, *arena_);
}

void RequestContext::SetBody(std::string_view body) {
  SLUICE_CHECK(run_.has_body());
  if (is_shadowed()) return;
  body_ = arena_->Copy(body);
  head_->body = {BodyFraming::Kind::kLength, body.size()};
}

void RequestContext::SetBodyLimit(uint64_t bytes) {
  if (!is_shadowed()) body_limit_ = bytes;
}

void RequestContext::SetClientAddress(const IpAddress& ip, uint16_t port) {
  if (is_shadowed()) return;
  view_->client_ip = ip;
  view_->client_port = port;
  view_->client_text = arena_->Copy(ip.ToString());
}

void RequestContext::SetConsumer(const Consumer& consumer, std::string_view credential_id) {
  if (is_shadowed()) return;
  consumer_ = &consumer;
  view_->consumer_name = consumer.username;
  view_->consumer_group_id = consumer.group_id;
  const auto tell = [this](std::string_view name, std::string_view value) {
    value.empty() ? RemoveHeader(name) : SetHeader(name, value);
  };
  tell(kConsumerUsername, consumer.username);
  tell(kConsumerCustomId, consumer.custom_id);
  tell(kCredentialIdentifier, credential_id);
}

void RequestContext::HideArgumentInLogs(std::string_view name) {
  log_secrets_.push_back({LogSecret::Kind::kArgument, arena_->Copy(name), kHidden});
}

void RequestContext::HideCookieInLogs(std::string_view name) {
  log_secrets_.push_back({LogSecret::Kind::kCookie, arena_->Copy(name), kHidden});
}

void RequestContext::HideHeaderInLogs(std::string_view name, std::string_view shown) {
  log_secrets_.push_back({LogSecret::Kind::kHeader, arena_->Copy(name), arena_->Copy(shown)});
}

void RequestContext::SetUpstream(int32_t upstream) {
  if (!is_shadowed()) upstream_ = upstream;
}

void RequestContext::SetResponseHeader(std::string_view name, std::string_view value) {
  if (is_shadowed()) return;
  response_changes_.push_back(
      {HeaderChange::Kind::kSet, CopyFieldValue(name, *arena_), CopyFieldValue(value, *arena_)});
}

void RequestContext::AddResponseHeader(std::string_view name, std::string_view value) {
  if (is_shadowed()) return;
  response_changes_.push_back(
      {HeaderChange::Kind::kAdd, CopyFieldValue(name, *arena_), CopyFieldValue(value, *arena_)});
}

// --- verdicts ------------------------------------------------------------------------------------

Verdict RequestContext::Reply(int status) { return Reply(status, {}); }

Verdict RequestContext::Reply(int status, std::string_view body, std::string_view content_type) {
  const std::string_view copy = arena_->Copy(body);
  reply_ = {status, copy, arena_->Copy(content_type), copy};
  return Verdict::kReply;
}

Verdict RequestContext::ReplyMessage(int status, std::string_view message) {
  return ReplyWith(status, "message", message);
}

Verdict RequestContext::ReplyErrorMessage(int status, std::string_view message) {
  return ReplyWith(status, "error_msg", message);
}

Verdict RequestContext::ReplyWith(int status, std::string_view member, std::string_view message) {
  scratch_.clear();
  JsonWriter(scratch_).BeginObject().Member(member, message).EndObject();
  scratch_ += '\n';
  reply_ = {status, arena_->Copy(scratch_), "application/json", arena_->Copy(message)};
  return Verdict::kReply;
}

Verdict RequestContext::Fail(std::string_view detail, std::optional<FailureMode> mode) {
  run_.failure_ = arena_->Copy(detail);
  run_.failure_mode_ = mode;
  return Verdict::kFail;
}

Verdict RequestContext::Delay(Duration time, Verdict then) { return run_.Delay(time, then); }

Ticket RequestContext::Suspend(Duration limit) { return run_.Suspend(limit); }

// --- state ---------------------------------------------------------------------------------------

void* RequestContext::FindState() const {
  const void* const plugin = run_.current_->plugin.get();
  for (const StateNode* node = states_; node != nullptr; node = node->next) {
    if (node->plugin == plugin) return node->state;
  }
  return nullptr;
}

void* RequestContext::AllocateState(size_t size, size_t alignment) {
  return arena_->AllocateAligned(size, alignment);
}

void RequestContext::AddState(void* state, void (*destroy)(void*)) {
  void* const place = arena_->AllocateAligned(sizeof(StateNode), alignof(StateNode));
  states_ = ::new (place) StateNode{run_.current_->plugin.get(), state, destroy, states_};
}

// --- the response --------------------------------------------------------------------------------

std::string_view ResponseContext::Header(std::string_view name) const {
  return FindValue(head_.fields, name);
}

void ResponseContext::SetStatus(int status) {
  if (shadowed_) return;
  head_.status = status;
  head_.reason = {};
}

void ResponseContext::SetHeader(std::string_view name, std::string_view value) {
  if (!shadowed_) head_.fields.Set(MakeField(name, value, arena_));
}

void ResponseContext::AddHeader(std::string_view name, std::string_view value) {
  if (!shadowed_) head_.fields.Add(MakeField(name, value, arena_));
}

void ResponseContext::RemoveHeader(std::string_view name) {
  if (!shadowed_) head_.fields.Remove(name);
}

// A response to HEAD says in the field how long a body would be; others have it from the framing.
void ResponseContext::ChangeBody() {
  watched_ = true;
  head_.fields.Remove("Content-Length");
  head_.body = {BodyFraming::Kind::kChunked, 0};
}

void ResponseContext::ChangeBody(uint64_t length) {
  watched_ = true;
  head_.body = {BodyFraming::Kind::kLength, length};
}

}  // namespace sluice
