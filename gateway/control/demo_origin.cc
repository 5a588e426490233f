#include "gateway/control/demo_origin.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

#include "gateway/base/json_writer.h"
#include "gateway/base/log.h"
#include "gateway/base/text.h"
#include "gateway/base/unique_fd.h"
#include "gateway/http/http1_codec.h"
#include "gateway/net/listener.h"
#include "gateway/net/loop.h"
#include "gateway/net/stream.h"
#include "gateway/net/watchers.h"

namespace sluice {
namespace {

constexpr size_t kMaxConnections = 4096;
constexpr uint64_t kMaxDelayMillis = 60'000;
constexpr uint64_t kMaxBytes = uint64_t{1} << 30;
constexpr int kStreamPieces = 10;
constexpr Duration kStreamInterval = milliseconds(100);
constexpr Duration kIdleLimit = seconds(120);
constexpr Duration kLingerLimit = seconds(5);
constexpr size_t kBytesPerTurn = 256 * 1024;

// What the end of a path asks for.
struct Wish {
  enum class Kind : uint8_t { kEcho, kDelay, kStatus, kBytes, kStream, kInvalid };
  Kind kind = Kind::kEcho;
  uint64_t number = 0;
  std::string complaint;  // kInvalid
};

Wish Ranged(Wish::Kind kind, std::string_view text, uint64_t low, uint64_t high) {
  const std::optional<uint64_t> number = ParseDecimal(text);
  if (number.has_value() && *number >= low && *number <= high) return {kind, *number, {}};
  std::string complaint = "expected a number from ";
  AppendDecimal(complaint, low);
  complaint += " to ";
  AppendDecimal(complaint, high);
  complaint += " at the end of the path, got \"";
  complaint += text.substr(0, 40);
  complaint += '"';
  return {Wish::Kind::kInvalid, 0, std::move(complaint)};
}

Wish FindWish(std::string_view path) {
  const std::vector<std::string_view> parts = Split(path, '/');
  const std::string_view last = parts.back();
  if (last == "stream") return {Wish::Kind::kStream, 0, {}};
  const std::string_view word = parts.size() < 2 ? std::string_view() : parts[parts.size() - 2];
  if (word == "delay") return Ranged(Wish::Kind::kDelay, last, 0, kMaxDelayMillis);
  if (word == "status") return Ranged(Wish::Kind::kStatus, last, 200, 599);
  if (word == "bytes") return Ranged(Wish::Kind::kBytes, last, 0, kMaxBytes);
  return {};
}

// Fields of one name are one member, as a list field is written (RFC 9110 5.3).
void EchoFields(JsonWriter& json, const HeaderList& fields) {
  json.Key("headers").BeginObject();
  for (const HeaderField& field : fields) {
    if (fields.Find(field.name) != &field) continue;
    std::string value;
    for (const HeaderField& other : fields) {
      if (!EqualsIgnoreCase(other.name, field.name)) continue;
      if (&other != &field) value += ", ";
      value += other.value;
    }
    json.Member(field.name, value);
  }
  json.EndObject();
}

std::string Echo(const RequestHead& head, uint64_t body_size) {
  std::string out;
  JsonWriter json(out);
  json.BeginObject();
  json.Member("method", head.method_text);
  json.Member("path", head.path);
  json.Member("query", head.query);
  json.Member("version", head.version == HttpVersion::kHttp10 ? "1.0" : "1.1");
  EchoFields(json, head.fields);
  json.Member("body_size", body_size);
  json.EndObject();
  out += '\n';
  return out;
}

std::string_view SomeText() {
  static const std::string text = [] {
    std::string lines;
    while (lines.size() < 64 * 1024)
      lines += "All work and no play makes a dull test. 0123456789 abcdef.\n    ";
    lines.resize(64 * 1024);
    return lines;
  }();
  return text;
}

class Connection;

// Who owns the connections.
class ConnectionOwner {
 public:
  virtual Loop& loop() = 0;
  virtual const CodecLimits& limits() = 0;
  virtual void Remove(Connection& connection) = 0;  // destroys it

 protected:
  ~ConnectionOwner() = default;
};

// One client: requests are read one at a time, bytes behind the current one wait in `input_`.
class Connection final : public StreamObserver, public Deadline::Observer {
 public:
  explicit Connection(ConnectionOwner& owner)
      : owner_(owner),
        stream_(owner.loop(), *this),
        decoder_(Http1Decoder::Role::kServer, owner.limits()),
        timer_(owner.loop()),
        idle_(owner.loop().deadlines(), *this) {}

  void Start(int fd) {
    decoder_.StartMessage();
    KeepAlive();
    // A failure closes the stream and ends in OnClosed like any other end.
    if (const Status status = stream_.Accept(fd); !status.has_value()) {
      Log(LogLevel::kWarn, status.error().detail);
    }
  }
  void Close() {
    timer_.Stop();
    idle_.Cancel();
    stream_.Close();
  }

 private:
  void OnConnected(Status) override {}
  void OnRead(std::string_view bytes) override {
    if (lingering_) return;
    KeepAlive();
    if (!answering_) Consume(bytes);
    KeepForLater(bytes);
  }
  void OnEof() override {
    peer_is_done_ = true;
    if (!answering_) Close();
  }
  void OnStreamError(int) override { Close(); }
  void OnBlocked() override { blocked_ = true; }
  void OnWritable() override {
    blocked_ = false;
    KeepAlive();
    if (bytes_left_ > 0) SendBytes();
  }
  void OnClosed() override { owner_.Remove(*this); }
  void OnDeadline() override { Close(); }

  void KeepAlive() { idle_.Set(owner_.loop().now() + kIdleLimit); }

  // Pipelined: what one read brought is kept, the rest waits in the kernel.
  void KeepForLater(std::string_view bytes) {
    if (bytes.empty() || lingering_ || !stream_.is_open()) return;
    input_.Append(bytes);
    stream_.PauseReading();
  }

  // Answers what is at the front of `bytes` until an answer takes time or they are used up.
  void Consume(std::string_view& bytes) {
    while (!answering_ && !lingering_ && stream_.is_open()) {
      switch (decoder_.Next(bytes)) {
        case CodecEvent::kNeedMore:
          return;
        case CodecEvent::kHead:
          body_size_ = 0;
          if (decoder_.request().expect_continue) Send("HTTP/1.1 100 Continue\r\n\r\n");
          break;
        case CodecEvent::kData:
          body_size_ += decoder_.data().size();
          break;
        case CodecEvent::kEnd:
          Answer();
          break;
        case CodecEvent::kError:
          head_only_ = false;
          close_after_ = true;
          Reply(400, decoder_.error().detail + "\n", "text/plain");
          break;
      }
    }
  }

  void Answer() {
    const RequestHead& head = decoder_.request();
    answering_ = true;
    head_only_ = head.method == Method::kHead;
    chunked_ = head.version != HttpVersion::kHttp10;
    close_after_ = !head.keep_alive || !chunked_;
    const Wish wish = FindWish(head.path);
    switch (wish.kind) {
      case Wish::Kind::kEcho:
        return Reply(200, Echo(head, body_size_));
      case Wish::Kind::kStatus:
        return Reply(static_cast<int>(wish.number), Echo(head, body_size_));
      case Wish::Kind::kInvalid:
        return Reply(400, wish.complaint + "\n", "text/plain");
      case Wish::Kind::kDelay:
        return timer_.Start(milliseconds(wish.number),
                            [this] { Reply(200, Echo(decoder_.request(), body_size_)); });
      case Wish::Kind::kBytes:
        SendHead(200, "text/plain", wish.number);
        bytes_left_ = head_only_ ? 0 : wish.number;
        return SendBytes();
      case Wish::Kind::kStream:
        return StartStream();
    }
  }

  void Reply(int status, std::string_view body, std::string_view type = "application/json") {
    const bool has_body = status != 204 && status != 304;
    SendHead(status, type, has_body ? std::optional<uint64_t>(body.size()) : std::nullopt);
    if (has_body && !head_only_) Send(body);
    Finish();
  }

  // Without `length` the status has no body, or `framing` is another field that tells its end.
  void SendHead(int status, std::string_view type, std::optional<uint64_t> length,
                std::string_view framing = {}) {
    std::string head = "HTTP/1.1 ";
    AppendDecimal(head, static_cast<uint64_t>(status));
    head += status < 400 ? " OK\r\nServer: sluice-demo-origin\r\nContent-Type: "
                         : " Error\r\nServer: sluice-demo-origin\r\nContent-Type: ";
    head += type;
    if (length.has_value()) {
      head += "\r\nContent-Length: ";
      AppendDecimal(head, *length);
    }
    head += framing;
    if (close_after_) head += "\r\nConnection: close";
    head += "\r\n\r\n";
    Send(head);
  }

  void Send(std::string_view bytes) { stream_.Send(owner_.loop().scratch().Copy(bytes)); }

  // As much as one turn allows; goes on in OnWritable, or when the timer fires if nothing blocks.
  void SendBytes() {
    size_t budget = kBytesPerTurn;
    while (bytes_left_ > 0 && budget > 0) {
      const std::string_view piece = SomeText().substr(0, std::min<uint64_t>(bytes_left_, budget));
      stream_.Send(piece);
      bytes_left_ -= piece.size();
      budget -= piece.size();
    }
    if (bytes_left_ == 0) return Finish();
    timer_.Start(Duration(0), [this] {
      KeepAlive();
      if (!blocked_) SendBytes();
    });
  }

  void StartStream() {
    // An HTTP/1.0 client knows the end by the close.
    SendHead(200, "text/plain", std::nullopt, chunked_ ? "\r\nTransfer-Encoding: chunked" : "");
    if (head_only_) return Finish();
    pieces_sent_ = 0;
    timer_.StartRepeating(kStreamInterval, [this] { SendPiece(); });
  }

  void SendPiece() {
    KeepAlive();
    if (blocked_) return;
    std::string piece = "piece ";
    AppendDecimal(piece, static_cast<uint64_t>(++pieces_sent_));
    if (pieces_sent_ < 10) piece += ' ';
    piece += '\n';
    Send(chunked_ ? "9\r\n" + piece + "\r\n" : piece);
    if (pieces_sent_ < kStreamPieces) return;
    timer_.Stop();
    if (chunked_) Send("0\r\n\r\n");
    Finish();
  }

  void Finish() {
    answering_ = false;
    if (peer_is_done_) return stream_.CloseAfterFlush();
    if (close_after_) {
      // Closing with bytes unread would reset the connection under the answer: take them until the
      // client closes.
      lingering_ = true;
      idle_.Set(owner_.loop().now() + kLingerLimit);
      stream_.ShutdownWrite();
      return stream_.ResumeReading();
    }
    decoder_.StartMessage();
    stream_.ResumeReading();
    // Not empty only after an answer that took time, so this nests no deeper than once.
    const Buffer waiting = std::exchange(input_, Buffer());
    std::string_view bytes = waiting.view();
    if (!bytes.empty()) Consume(bytes);
    KeepForLater(bytes);
  }

  ConnectionOwner& owner_;
  Stream stream_;
  Http1Decoder decoder_;
  Timer timer_;
  Deadline idle_;
  Buffer input_;
  uint64_t body_size_ = 0;
  uint64_t bytes_left_ = 0;
  int pieces_sent_ = 0;
  bool answering_ = false;  // the answer is not complete: the next request waits
  bool head_only_ = false;  // HEAD
  bool chunked_ = true;     // the client understands chunks
  bool close_after_ = false;
  bool lingering_ = false;  // answered and shut down: only waits for the client's close
  bool peer_is_done_ = false;
  bool blocked_ = false;
};

class DemoOrigin final : public ConnectionOwner {
 public:
  explicit DemoOrigin(Loop& loop)
      : loop_(loop),
        on_terminate_(loop, SIGTERM, [this] { Stop(); }),
        on_interrupt_(loop, SIGINT, [this] { Stop(); }) {}

  // Returns the address that was bound.
  Result<SocketAddress> Listen(const SocketAddress& address) {
    if (address.is_unix()) unlink(std::string(address.path()).c_str());
    UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return SystemError("socket", errno);
    const int on = 1;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd.get(), address.raw(), address.raw_size()) != 0) {
      return SystemError("bind " + address.ToString(), errno);
    }
    if (listen(fd.get(), 1024) != 0) return SystemError("listen " + address.ToString(), errno);
    sockaddr_storage storage{};
    socklen_t size = sizeof(storage);
    getsockname(fd.get(), reinterpret_cast<sockaddr*>(&storage), &size);
    const SocketAddress bound =
        SocketAddress::FromRaw(reinterpret_cast<const sockaddr*>(&storage), size);
    listener_ = std::make_unique<Listener>(
        loop_, fd.Release(), bound, [this](int client, const SocketAddress&) { Accept(client); });
    listener_->Resume();
    return bound;
  }

  Loop& loop() override { return loop_; }
  const CodecLimits& limits() override { return limits_; }
  void Remove(Connection& connection) override {
    connections_.erase(&connection);
    if (listener_ != nullptr && connections_.size() == kMaxConnections - 1) listener_->Resume();
    StopWhenEmpty();
  }

 private:
  void Accept(int fd) {
    auto connection = std::make_unique<Connection>(*this);
    Connection& added = *connection;
    connections_.emplace(&added, std::move(connection));
    added.Start(fd);
    if (connections_.size() == kMaxConnections) listener_->Pause();
  }

  void Stop() {
    stopping_ = true;
    listener_.reset();
    for (const auto& entry : connections_) entry.second->Close();
    StopWhenEmpty();
  }
  void StopWhenEmpty() {
    if (stopping_ && connections_.empty()) loop_.Stop();
  }

  Loop& loop_;
  const CodecLimits limits_;
  std::unique_ptr<Listener> listener_;
  SignalWatcher on_terminate_;
  SignalWatcher on_interrupt_;
  std::unordered_map<const Connection*, std::unique_ptr<Connection>> connections_;
  bool stopping_ = false;
};

int Fail(const Error& error) {
  Log(LogLevel::kError, "the demo origin cannot start: " + error.detail);
  return 1;
}

}  // namespace

int RunDemoOrigin(const std::string& listen_address) {
  const auto address = SocketAddress::Make(listen_address);
  if (!address.has_value()) return Fail(address.error());
  const auto loop = Loop::Make();
  if (!loop.has_value()) return Fail(loop.error());
  SetLogRole("demo-origin");
  DemoOrigin origin(**loop);
  const auto bound = origin.Listen(*address);
  if (!bound.has_value()) return Fail(bound.error());
  std::printf("demo-origin listens on %s\n", bound->ToString().c_str());
  std::fflush(stdout);
  (*loop)->Run();
  return 0;
}

}  // namespace sluice
