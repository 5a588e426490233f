// The part of Stream that speaks TLS: handshakes, and records in place of what is sent and read.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "gateway/net/stream.h"

namespace sluice {

void Stream::StartTls(std::unique_ptr<TlsSession> session, std::string_view early) {
  if (state_ != State::kOpen) return;
  Flush();  // what was sent in plain text goes before
  if (state_ != State::kOpen) return;
  tls_ = std::move(session);
  tls_->Keep(early);
  loop_.handshakes_.PushBack(*this);
}

// Asymmetric cryptography takes long: the loop gives each handshake its turn.
bool Stream::QueueHandshake() {
  if (tls_ == nullptr || tls_->state() != TlsSession::State::kHandshake) return false;
  if (!ListNode<NextTurnTag>::is_linked()) loop_.handshakes_.PushBack(*this);
  return true;
}

void Stream::Handshake() {
  if (state_ != State::kOpen) return;
  if (tls_->has_work()) {
    OnCiphertext({});
  } else if (readable_ && reading_) {
    Read();
  }
  if (!readable_ || !reading_ || state_ != State::kOpen) return;
  if (!QueueHandshake()) loop_.readable_.PushBack(*this);
}

void Stream::OnCiphertext(std::string_view bytes) {
  const TlsSession::Received received = tls_->Receive(bytes, loop_.tls_buffers());
  if (!SendSealed()) return;
  if (received.secured) observer_.OnSecured({});
  if (!received.plaintext.empty() && state_ == State::kOpen) {
    bytes_received_ += received.plaintext.size();
    observer_.OnRead(received.plaintext);
  }
  if (state_ != State::kOpen) return;
  if (received.failed) return OnTlsFailed();
  // The end is read when the owner reads on.
  if (tls_->peer_ended()) readable_ = true;
}

// The peer's word that it sends no more, or the end of the connection without it.
void Stream::OnTlsEnd() {
  reading_ = false;
  if (tls_->state() == TlsSession::State::kHandshake) {
    tls_->OnEof();
    return OnTlsFailed();
  }
  truncated_ = !tls_->peer_ended();
  observer_.OnEof();
}

void Stream::OnTlsFailed() {
  reading_ = false;
  if (tls_->is_established()) return Fail(EPROTO);
  const Error error = tls_->error();
  if (error.code == ErrorCode::kPlainHttp) tls_.reset();
  observer_.OnSecured(error);
}

bool Stream::SealLent() {
  SLUICE_CHECK(tls_->state() != TlsSession::State::kHandshake);  // the owner waits for OnSecured
  const std::span<const iovec> pieces(lent_->pieces.data(), lent_->count);
  for (const iovec& piece : pieces) unsent_ -= piece.iov_len;
  tls_->Seal(pieces, loop_.tls_buffers());
  if (close_due_ || shutdown_due_) tls_->SealClose(loop_.tls_buffers());
  return SendSealed();
}

void Stream::SendTlsEnd() {
  if (state_ != State::kOpen || tls_ == nullptr || unsent_ > 0 || lent_ != nullptr) return;
  TlsBuffers& buffers = loop_.tls_buffers();
  tls_->SealClose(buffers);
  const std::string_view sealed = buffers.output();
  // Whether it is taken or not, the connection is closed next.
  if (!sealed.empty()) static_cast<void>(SendPiece(fd(), sealed.data(), sealed.size()));
  buffers.ClearOutput();
}

// What a session has made leaves at once or waits, behind what waits already.
bool Stream::SendSealed() {
  TlsBuffers& buffers = loop_.tls_buffers();
  const std::string_view sealed = buffers.output();
  ssize_t sent = 0;
  if (waiting_.empty() && !sealed.empty()) {
    do {
      sent = SendPiece(fd(), sealed.data(), sealed.size());
    } while (sent < 0 && errno == EINTR);
  }
  if (sent < 0 && errno != EAGAIN) {
    const int error_number = errno;
    buffers.ClearOutput();
    Fail(error_number);
    return false;
  }
  const size_t taken = sent < 0 ? 0 : static_cast<size_t>(sent);
  bytes_sent_ += taken;
  unsent_ += sealed.size() - taken;
  waiting_.Append(sealed.substr(taken));
  buffers.ClearOutput();
  return true;
}

}  // namespace sluice
