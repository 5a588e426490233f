#include "gateway/control/local_http_server.h"

#include <algorithm>
#include <map>
#include <utility>

#include "gateway/base/log.h"
#include "gateway/http/http1_codec.h"
#include "gateway/net/stream.h"
#include "gateway/proxy/error_reply.h"

namespace sluice {
namespace {

// What is handed to the stream at one time of a large reply.
constexpr size_t kPiece = 256 * 1024;
// For the peer to close after the last reply, and for the rest of a reply to leave.
constexpr Duration kLingerTime = seconds(5);
constexpr CodecLimits kLimits{.request_line = 4 * 1024, .head = 16 * 1024, .fields = 100};

}  // namespace

struct LocalHttpServer::State {
  Loop& loop;
  OnRequest on_request;  // empty: the server is gone
  Listener* listener = nullptr;
  uint64_t last_id = 0;
  std::map<uint64_t, std::unique_ptr<Connection>> connections{};

  void MakeRoom();
};

class LocalHttpServer::Connection final : public StreamObserver, public Deadline::Observer {
 public:
  Connection(std::shared_ptr<State> state, uint64_t id)
      : state_(std::move(state)),
        id_(id),
        stream_(state_->loop, *this),
        decoder_(Http1Decoder::Role::kServer, kLimits),
        deadline_(state_->loop.deadlines(), *this) {}

  void Start(int fd) {
    deadline_.Set(MonoNow() + kHeadLimit);
    const Status accepted = stream_.Accept(fd);
    if (!accepted.has_value()) {
      Log(LogLevel::kWarn, "local connection", {{"reason", accepted.error().detail}});
    }
  }

  void Close() { stream_.Close(); }
  // And not closed yet.
  bool is_idle() const { return stream_.is_open() && !serving_ && decoder_.between_messages(); }

  void Send(Reply reply);

  // StreamObserver
  void OnConnected(Status /*status*/) override {}
  void OnRead(std::string_view bytes) override;
  void OnEof() override { Close(); }
  void OnStreamError(int /*error_number*/) override { Close(); }
  void OnBlocked() override { blocked_ = true; }
  void OnWritable() override {
    blocked_ = false;
    SendMore();
  }
  void OnClosed() override {
    const std::shared_ptr<State> state = state_;
    if (state->listener != nullptr) state->listener->Resume();
    state->connections.erase(id_);  // destroys this
  }

  // Deadline::Observer
  void OnDeadline() override { Close(); }

 private:
  void OnHead();
  void Refuse(int status, std::string_view why);
  void SendMore();
  void Finish();

  const std::shared_ptr<State> state_;
  const uint64_t id_;
  Stream stream_;
  Http1Decoder decoder_;
  Deadline deadline_;
  Reply reply_;
  size_t sent_ = 0;  // of the reply's body
  std::string head_;
  bool serving_ = false;  // a request, whose reply is not complete
  bool replying_ = false;
  bool is_head_ = false;
  bool close_after_ = false;
  bool closing_ = false;  // all is sent; the peer closes next
  bool blocked_ = false;
};

void LocalHttpServer::Connection::OnRead(std::string_view bytes) {
  if (closing_) return;          // what is read does not turn our close into a reset
  if (serving_) return Close();  // nobody who means well asks again before the answer
  if (decoder_.between_messages()) deadline_.Set(MonoNow() + kHeadLimit);
  while (!serving_ && stream_.is_open()) {
    switch (decoder_.Next(bytes)) {
      case CodecEvent::kNeedMore:
        return;
      case CodecEvent::kHead:
        if (decoder_.request().body.has_body()) return Refuse(413, "expected no body");
        break;
      case CodecEvent::kData:
        return Refuse(413, "expected no body");
      case CodecEvent::kEnd:
        close_after_ = !bytes.empty();
        return OnHead();
      case CodecEvent::kError:
        return Refuse(StatusOf(decoder_.error().code), decoder_.error().detail);
    }
  }
}

void LocalHttpServer::Connection::OnHead() {
  const RequestHead& head = decoder_.request();
  serving_ = true;
  is_head_ = head.method == Method::kHead;
  close_after_ = close_after_ || !head.keep_alive || head.version == HttpVersion::kHttp10;
  deadline_.Cancel();
  state_->on_request ? state_->on_request(id_, head) : Close();
}

void LocalHttpServer::Connection::Refuse(int status, std::string_view why) {
  serving_ = true;
  close_after_ = true;
  Send({.status = status,
        .content_type = "text/plain; charset=utf-8",
        .body = std::make_shared<const std::string>(std::string(why) + "\n")});
}

void LocalHttpServer::Connection::Send(Reply reply) {
  if (!serving_ || replying_) return;
  replying_ = true;
  reply_ = std::move(reply);
  sent_ = 0;
  const size_t size = reply_.body == nullptr ? 0 : reply_.body->size();
  head_ = "HTTP/1.1 " + std::to_string(reply_.status) + " ";
  head_.append(StatusText(reply_.status)).append("\r\nContent-Type: ").append(reply_.content_type);
  if (!reply_.allow.empty()) head_.append("\r\nAllow: ").append(reply_.allow);
  head_ += "\r\nContent-Length: " + std::to_string(size);
  if (close_after_) head_ += "\r\nConnection: close";
  head_ += "\r\n\r\n";
  deadline_.Set(MonoNow() + kReplyLimit);
  stream_.Send(head_);
  SendMore();
}

// Large bodies leave piece by piece, as fast as they are taken: no connection has a copy.
void LocalHttpServer::Connection::SendMore() {
  if (!replying_ || blocked_ || !stream_.is_open()) return;
  const std::string_view body =
      reply_.body == nullptr || is_head_ ? std::string_view() : std::string_view(*reply_.body);
  const std::string_view piece = body.substr(sent_, kPiece);
  sent_ += piece.size();
  stream_.Send(piece);
  if (sent_ == body.size()) return Finish();
  state_->loop.Post([state = state_, id = id_] {
    const auto found = state->connections.find(id);
    if (found != state->connections.end()) found->second->SendMore();
  });
}

void LocalHttpServer::Connection::Finish() {
  replying_ = false;
  if (close_after_) {
    closing_ = true;
    stream_.ShutdownWrite();
    return deadline_.Set(MonoNow() + kLingerTime);
  }
  serving_ = false;
  decoder_.StartMessage();
  deadline_.Set(MonoNow() + kIdleLimit);
}

// At the limit the connection that has been there for longest and asks nothing gives way; when
// there is none, those beyond wait in the kernel's queue, which is bounded too.
void LocalHttpServer::State::MakeRoom() {
  if (connections.size() < kMaxConnections) return;
  for (const auto& [id, connection] : connections) {
    if (connection->is_idle() && id != last_id) return connection->Close();
  }
  listener->Pause();
}

LocalHttpServer::LocalHttpServer(Loop& loop, UniqueFd socket, OnRequest on_request)
    : state_(new State{loop, std::move(on_request)}) {
  const std::weak_ptr<State> weak = state_;
  const auto accept = [weak](int fd, const SocketAddress& /*peer*/) {
    UniqueFd owned(fd);
    const auto here = weak.lock();
    if (here == nullptr) return;
    const uint64_t id = ++here->last_id;
    auto connection = std::make_unique<Connection>(here, id);
    Connection& started = *connection;
    here->connections.emplace(id, std::move(connection));
    here->MakeRoom();
    started.Start(owned.Release());
  };
  listener_ = std::make_unique<Listener>(loop, socket.Release(), SocketAddress(), accept);
  state_->listener = listener_.get();
  listener_->Resume();
}

LocalHttpServer::~LocalHttpServer() {
  state_->on_request = nullptr;
  state_->listener = nullptr;
  for (const auto& [id, connection] : state_->connections) connection->Close();
}

void LocalHttpServer::Send(uint64_t id, Reply reply) {
  const auto found = state_->connections.find(id);
  if (found != state_->connections.end()) found->second->Send(std::move(reply));
}

}  // namespace sluice
