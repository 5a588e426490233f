#include "gateway/net/tls_session.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "gateway/base/address.h"
#include "gateway/net/tls_handshake.h"

namespace sluice {
namespace {

// The output of one flush is seldom larger; what is, is given back.
constexpr size_t kKeptOutput = 512 * 1024;

}  // namespace

void TlsBuffers::ClearOutput() {
  if (output_.capacity() > kKeptOutput) {
    output_ = std::vector<char>();
  } else {
    output_.clear();
  }
}

// A BIO over the bytes that a call was given and the shared output.
struct TlsSession::Records {
  static int Read(BIO* bio, char* out, int size) {
    auto& session = *static_cast<TlsSession*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (session.flooded_) return -1;
    std::string_view& input = session.input_;
    const size_t count = std::min(input.size(), static_cast<size_t>(std::max(size, 0)));
    if (count == 0) {
      BIO_set_retry_read(bio);
      return -1;
    }
    std::memcpy(out, input.data(), count);
    input.remove_prefix(count);
    return static_cast<int>(count);
  }

  static int Write(BIO* bio, const char* data, int size) {
    const auto& session = *static_cast<TlsSession*>(BIO_get_data(bio));
    if (session.buffers_ == nullptr || size < 0) return -1;
    std::vector<char>& output = session.buffers_->output_;
    output.insert(output.end(), data, data + size);
    return size;
  }

  static long Control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

  static const BIO_METHOD* Methods() {
    static const BIO_METHOD* const kMethods = [] {
      BIO_METHOD* methods = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
      BIO_meth_set_read(methods, Read);
      BIO_meth_set_write(methods, Write);
      BIO_meth_set_ctrl(methods, Control);
      return methods;
    }();
    return kMethods;
  }
};

Result<std::unique_ptr<TlsSession>> TlsSession::Accept(
    std::shared_ptr<const TlsServerContext> context, bool http2) {
  auto session = std::unique_ptr<TlsSession>(new TlsSession());
  session->http2_ = http2;
  session->ssl_ = TlsHandshake::NewServer(*context, *session);
  session->server_context_ = std::move(context);
  return Begin(std::move(session));
}

Result<std::unique_ptr<TlsSession>> TlsSession::Connect(
    std::shared_ptr<const TlsClientContext> context, std::string_view name,
    TlsResumption* resumption) {
  auto session = std::unique_ptr<TlsSession>(new TlsSession());
  session->server_name_ = name;
  session->resumption_ = resumption;
  session->ssl_ = TlsHandshake::NewClient(*context, *session);
  session->client_context_ = std::move(context);
  SLUICE_ASSIGN_OR_RETURN(session, Begin(std::move(session)));
  SLUICE_TRY(session->ExpectPeer(name));
  return session;
}

Result<std::unique_ptr<TlsSession>> TlsSession::Begin(std::unique_ptr<TlsSession> session) {
  BIO* bio = session->ssl_ == nullptr ? nullptr : BIO_new(Records::Methods());
  if (bio == nullptr) {
    return GatewayError(ErrorCode::kInternal, "no TLS connection: " + TakeTlsError());
  }
  BIO_set_data(bio, session.get());
  BIO_set_init(bio, 1);
  SSL_set_bio(session->ssl_.get(), bio, bio);
  return session;
}

Status TlsSession::ExpectPeer(std::string_view name) {
  SSL* ssl = ssl_.get();
  const bool verify = TlsHandshake::VerifiesPeer(*client_context_);
  const std::string host(name);
  bool done = true;
  if (IpAddress::Parse(name)) {
    if (verify) done = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str()) == 1;
  } else if (!name.empty()) {
    done = SSL_set_tlsext_host_name(ssl, host.c_str()) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (verify && done) done = SSL_set1_host(ssl, host.c_str()) == 1;
  } else if (verify) {
    done = false;
  }
  if (!done) {
    return UpstreamError(ErrorCode::kUpstreamTlsFailed, Retry::kNever,
                         "\"" + host + "\" is no name to expect a certificate for");
  }
  SSL_SESSION* known = resumption_ == nullptr ? nullptr : resumption_->Find(*client_context_, name);
  if (known != nullptr) SSL_set_session(ssl, known);
  return {};
}

TlsSession::~TlsSession() {
  // Otherwise OpenSSL would take a connection that was just dropped as a sign that its session must
  // not be resumed.
  if (state_ == State::kSecured) SSL_set_shutdown(ssl_.get(), SSL_SENT_SHUTDOWN);
}

TlsSession::Received TlsSession::Receive(std::string_view ciphertext, TlsBuffers& buffers) {
  if (early_.empty()) {
    input_ = ciphertext;
    return Advance(buffers);
  }
  early_.Append(ciphertext);
  const Buffer early = std::move(early_);
  early_ = Buffer();
  input_ = early.view();
  return Advance(buffers);
}

TlsSession::Received TlsSession::Advance(TlsBuffers& buffers) {
  Received received;
  buffers_ = &buffers;
  if (state_ == State::kHandshake) received.secured = Handshake();
  if (state_ == State::kSecured) Open(buffers, received);
  received.failed = state_ == State::kFailed;
  buffers_ = nullptr;
  input_ = {};
  return received;
}

bool TlsSession::Handshake() {
  const bool plain =
      is_server() && !begun_ && !input_.empty() && input_.front() >= 'A' && input_.front() <= 'Z';
  if (plain) {
    state_ = State::kFailed;
    error_ = ClientError(ErrorCode::kPlainHttp, "expected TLS, got plain text");
    return false;
  }
  begun_ = begun_ || !is_server() || !input_.empty();
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) {
    state_ = State::kSecured;
    established_ = true;
    // OpenSSL tells of new sessions, but not of a ticket that TLS 1.2 has renewed.
    if (resumption_ != nullptr && is_resumed() && SSL_version(ssl_.get()) == TLS1_2_VERSION) {
      resumption_->Store(client_context_, server_name_,
                         SslSessionPtr(SSL_get1_session(ssl_.get())));
    }
    return true;
  }
  if (SSL_get_error(ssl_.get(), result) != SSL_ERROR_WANT_READ) Fail(Reason(result));
  return false;
}

void TlsSession::Open(TlsBuffers& buffers, Received& received) {
  char* const begin = buffers.plaintext_.get();
  size_t size = 0;
  while (!peer_ended_ && (!input_.empty() || SSL_pending(ssl_.get()) > 0)) {
    SLUICE_CHECK(size < buffers.plaintext_size_);  // there is room for all of the input
    size_t count = 0;
    ERR_clear_error();
    const int result =
        SSL_read_ex(ssl_.get(), begin + size, buffers.plaintext_size_ - size, &count);
    if (result == 1) {
      size += count;
      idle_records_ = 0;
      continue;
    }
    const int error = SSL_get_error(ssl_.get(), result);
    if (error == SSL_ERROR_ZERO_RETURN) {
      peer_ended_ = true;
    } else if (error != SSL_ERROR_WANT_READ) {
      Fail(Reason(result));
    }
    break;
  }
  received.plaintext = {begin, size};
}

std::string TlsSession::Reason(int result) const {
  if (flooded_) return "too many records without data";
  const int error = SSL_get_error(ssl_.get(), result);
  const long verified = SSL_get_verify_result(ssl_.get());
  std::string reason = error == SSL_ERROR_SSL ? TakeTlsError() : "no reason was given";
  if (verified != X509_V_OK && !is_secured()) {
    reason.append(": ").append(X509_verify_cert_error_string(verified));
  }
  return reason;
}

void TlsSession::Fail(std::string reason) {
  const bool in_handshake = state_ == State::kHandshake;
  state_ = State::kFailed;
  reason.insert(0, in_handshake ? "TLS handshake: " : "TLS: ");
  if (is_server()) {
    error_ = ClientError(ErrorCode::kTlsFailed, std::move(reason));
  } else {
    error_ = UpstreamError(ErrorCode::kUpstreamTlsFailed,
                           in_handshake ? Retry::kSafe : Retry::kIdempotent, std::move(reason));
  }
}

void TlsSession::OnEof() {
  if (state_ != State::kFailed) Fail("the connection was closed");
}

void TlsSession::Seal(std::span<const iovec> pieces, TlsBuffers& buffers) {
  buffers_ = &buffers;
  char* const record = buffers.record_.get();
  size_t filled = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const char* data = static_cast<const char*>(pieces[i].iov_base);
    size_t left = pieces[i].iov_len;
    const bool last = i + 1 == pieces.size();
    while (left > 0 && state_ == State::kSecured) {
      size_t count = 0;
      if (filled == 0 && (last || left >= TlsBuffers::kRecord)) {
        count = last ? left : left - left % TlsBuffers::kRecord;
        Write(data, count);
      } else {
        count = std::min(left, TlsBuffers::kRecord - filled);
        std::memcpy(record + filled, data, count);
        filled += count;
        if (filled == TlsBuffers::kRecord) Write(record, std::exchange(filled, 0));
      }
      data += count;
      left -= count;
    }
  }
  if (filled > 0) Write(record, filled);
  buffers_ = nullptr;
}

void TlsSession::Write(const char* data, size_t size) {
  if (state_ != State::kSecured) return;
  size_t written = 0;
  ERR_clear_error();
  // All at once: the output takes everything.
  if (SSL_write_ex(ssl_.get(), data, size, &written) != 1) Fail(TakeTlsError());
}

void TlsSession::SealClose(TlsBuffers& buffers) {
  if (std::exchange(close_sealed_, true) || state_ != State::kSecured) return;
  buffers_ = &buffers;
  ERR_clear_error();
  // A failure means that the connection is unusable already, and it is being closed.
  if (SSL_shutdown(ssl_.get()) < 0) ERR_clear_error();
  buffers_ = nullptr;
}

bool TlsSession::MayServe(std::string_view host, const TlsServerContext& now) const {
  const bool named = host == server_name_ || host.empty();
  if (named_identity_ && !named && !identity_->Covers(host)) return false;
  if (!now.verifies_clients()) return true;
  const TlsIdentity* found = now.Find(host);
  const TlsIdentity& wanted = found == nullptr ? now.fallback() : *found;
  if (!wanted.verifies_client()) return true;
  return identity_->verification() == wanted.verification() &&
         (wanted.verification_is_optional() || has_verified_peer());
}

std::string_view TlsSession::alpn() const {
  const unsigned char* data = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &data, &size);
  return {reinterpret_cast<const char*>(data), size};
}

std::string_view TlsSession::protocol() const { return SSL_get_version(ssl_.get()); }
std::string_view TlsSession::cipher() const { return SSL_get_cipher_name(ssl_.get()); }
bool TlsSession::is_resumed() const { return SSL_session_reused(ssl_.get()) == 1; }

bool TlsSession::has_verified_peer() const {
  const bool asked = is_server() ? identity_ != nullptr && identity_->verifies_client()
                                 : TlsHandshake::VerifiesPeer(*client_context_);
  return asked && SSL_get0_peer_certificate(ssl_.get()) != nullptr &&
         SSL_get_verify_result(ssl_.get()) == X509_V_OK;
}

std::string TlsSession::peer_subject() const {
  const X509* peer = SSL_get0_peer_certificate(ssl_.get());
  if (peer == nullptr) return {};
  BIO* text = BIO_new(BIO_s_mem());
  X509_NAME_print_ex(text, X509_get_subject_name(peer), 0, XN_FLAG_RFC2253);
  char* data = nullptr;
  const long size = BIO_get_mem_data(text, &data);
  std::string out(data, static_cast<size_t>(std::max(size, 0L)));
  BIO_free(text);
  return out;
}

}  // namespace sluice
