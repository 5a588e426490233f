#include "gateway/proxy/tunnel.h"

#include <algorithm>
#include <string>

#include "gateway/base/text.h"
#include "gateway/http/excerpt.h"
#include "gateway/net/websocket_accept.h"

namespace sluice {
namespace {

constexpr uint8_t kBothSides = 3;

bool HasMember(const HeaderList& fields, HeaderId id, std::string_view member) {
  return std::any_of(fields.begin(), fields.end(), [&](const HeaderField& field) {
    return field.id == id && ListContains(field.value, member);
  });
}

Error NoWebSocket(std::string expected, std::string_view got) {
  return UpstreamError(ErrorCode::kInvalidResponse, Retry::kNever,
                       "expected a 101 with " + std::move(expected) + ", got " + Excerpt(got));
}

}  // namespace

// RFC 6455 4.1; RFC 9110 7.8: an Upgrade of an HTTP/1.0 client, or one that Connection does not
// name, has no meaning.
bool Tunnel::IsAskedFor(const RequestHead& head) {
  if (head.websocket) return true;
  return head.method == Method::kGet && head.version == HttpVersion::kHttp11 &&
         !head.body.has_body() && HasMember(head.fields, HeaderId::kUpgrade, "websocket") &&
         HasMember(head.fields, HeaderId::kConnection, "upgrade");
}

Status Tunnel::CheckAnswer(const RequestHead& request, const ResponseHead& answer) {
  const HeaderList& fields = answer.fields;
  const std::string_view upgrade = fields.Value(HeaderId::kUpgrade);
  if (fields.Count(HeaderId::kUpgrade) != 1 || !EqualsIgnoreCase(upgrade, "websocket")) {
    return NoWebSocket("\"Upgrade: websocket\"", upgrade);
  }
  if (!HasMember(fields, HeaderId::kConnection, "upgrade")) {
    return NoWebSocket("\"Connection: upgrade\"", fields.Value(HeaderId::kConnection));
  }
  if (!request.websocket) return {};
  const HeaderField* key = request.fields.Find("Sec-WebSocket-Key");
  const HeaderField* accept = fields.Find("Sec-WebSocket-Accept");
  const std::string expected = WebSocketAccept(key == nullptr ? std::string_view() : key->value);
  const std::string_view got = accept == nullptr ? std::string_view() : accept->value;
  if (got == expected) return {};
  return NoWebSocket("\"Sec-WebSocket-Accept: " + expected + "\"", got);
}

void Tunnel::Open(Duration idle) {
  state_ = State::kOpen;
  idle_ = idle;
  UpdateDeadline();
}

void Tunnel::Close() {
  if (state_ == State::kOpen) deadline_.Cancel();
  state_ = State::kClosed;
  blocked_ = ended_ = 0;
  frames_ = WebSocketFrames();
}

void Tunnel::SetBlocked(Side side, bool blocked) {
  const auto bit = static_cast<uint8_t>(side);
  blocked_ = static_cast<uint8_t>(blocked ? blocked_ | bit : blocked_ & ~bit);
  UpdateDeadline();
}

std::string_view Tunnel::Goodbye() const {
  const bool upstream_ended = (ended_ & static_cast<uint8_t>(Side::kUpstream)) != 0;
  return frames_.may_add() && !upstream_ended ? WebSocketFrames::kGoingAway : std::string_view();
}

bool Tunnel::End(Side side) {
  ended_ = static_cast<uint8_t>(ended_ | static_cast<uint8_t>(side));
  UpdateDeadline();
  return ended_ == kBothSides;
}

void Tunnel::UpdateDeadline() {
  if (state_ != State::kOpen) return;
  blocked_ != 0 ? deadline_.Cancel() : deadline_.Set(loop_.now() + idle_);
}

}  // namespace sluice
