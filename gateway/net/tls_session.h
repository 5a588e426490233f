// TLS of one connection, without a socket: takes what came and gives what is in it, takes what is
// to be sent and gives records. Owned by a Stream, which moves the bytes. Ciphertext lies in
// buffers that all connections of a loop share; an idle session holds none.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <sys/uio.h>

#include "gateway/base/buffer.h"
#include "gateway/base/result.h"
#include "gateway/net/tls_context.h"
#include "gateway/net/tls_types.h"

namespace sluice {

// Scratch memory of one loop. What lies in it is valid until the next call of any session, except
// the plaintext, which stays until the next Receive.
class TlsBuffers {
 public:
  static constexpr size_t kRecord = 16 * 1024;

  // `input`: the most bytes that one Receive gets.
  explicit TlsBuffers(size_t input)
      : plaintext_(std::make_unique_for_overwrite<char[]>(input + 2 * kRecord)),
        plaintext_size_(input + 2 * kRecord),
        record_(std::make_unique_for_overwrite<char[]>(kRecord)) {}

  // Records to send, in order. Take them after each call that makes some.
  std::string_view output() const { return {output_.data(), output_.size()}; }
  void ClearOutput();

 private:
  friend class TlsSession;
  friend class TlsHandshake;

  std::unique_ptr<char[]> plaintext_;
  size_t plaintext_size_;
  std::unique_ptr<char[]> record_;  // small pieces on their way into one record
  std::vector<char> output_;
};

class TlsSession {
 public:
  enum class State : uint8_t { kHandshake, kSecured, kFailed };

  // What came of some bytes.
  struct Received {
    std::string_view plaintext;  // in the buffers
    bool secured = false;        // the handshake has ended well just now
    bool failed = false;         // for good; see error()
  };

  // The server's side. `http2`: offered by ALPN before http/1.1.
  static Result<std::unique_ptr<TlsSession>> Accept(std::shared_ptr<const TlsServerContext> context,
                                                    bool http2);
  // The client's side. `name`: whose certificate is expected, a DNS name or an address; it is also
  // sent as SNI if it is a name. `resumption` may be null.
  static Result<std::unique_ptr<TlsSession>> Connect(
      std::shared_ptr<const TlsClientContext> context, std::string_view name,
      TlsResumption* resumption);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  State state() const { return state_; }
  bool is_secured() const { return state_ == State::kSecured; }
  bool is_established() const { return established_; }  // the handshake was successful
  bool is_server() const { return server_context_ != nullptr; }
  const Error& error() const { return error_; }  // kFailed: why

  // After the handshake. Views into the session.
  std::string_view alpn() const;      // empty: none was agreed on
  std::string_view protocol() const;  // "TLSv1.3"
  std::string_view cipher() const;
  const std::string& server_name() const { return server_name_; }  // SNI, lower case; may be empty
  bool is_resumed() const;
  bool has_verified_peer() const;    // the other side proved who it is
  std::string peer_subject() const;  // RFC 2253; empty without a certificate
  // The server's side: who we are for this client, and whether the client has named it.
  const TlsIdentity* identity() const { return identity_; }
  bool named_identity() const { return named_identity_; }

  // Whether a request for `host` (lower case, without port) may come over this connection:
  // it lies in the scope of the certificate, and where `now`, the present configuration, demands a
  // certificate of the client for it, this connection has one that was checked in that way.
  bool MayServe(std::string_view host, const TlsServerContext& now) const;

 private:
  friend class Stream;
  friend class TlsHandshake;

  TlsSession() = default;

  // For the stream. Bytes that came before the session was there wait for its first Receive.
  void Keep(std::string_view early) { early_.Append(early); }
  // Without new bytes.
  bool has_work() const { return !early_.empty() || (!begun_ && !is_server()); }
  bool peer_ended() const { return peer_ended_; }  // it has said that it sends no more

  Received Receive(std::string_view ciphertext, TlsBuffers& buffers);
  void Seal(std::span<const iovec> pieces, TlsBuffers& buffers);  // precondition: secured
  void SealClose(TlsBuffers& buffers);  // close_notify, once, if the handshake is over
  bool close_is_sealed() const { return close_sealed_; }
  void OmitClose() { close_sealed_ = true; }
  void OnEof();  // the connection has ended

  struct Records;  // how OpenSSL reads and writes

  static Result<std::unique_ptr<TlsSession>> Begin(std::unique_ptr<TlsSession> session);
  Status ExpectPeer(std::string_view name);
  Received Advance(TlsBuffers& buffers);
  bool Handshake();
  void Open(TlsBuffers& buffers, Received& received);
  void Write(const char* data, size_t size);
  void Fail(std::string reason);
  std::string Reason(int result) const;

  SslPtr ssl_;
  std::shared_ptr<const TlsServerContext> server_context_;
  std::shared_ptr<const TlsClientContext> client_context_;
  const TlsIdentity* identity_ = nullptr;
  TlsResumption* resumption_ = nullptr;
  TlsBuffers* buffers_ = nullptr;  // while a call is under way
  std::string_view input_;         // the same
  Buffer early_;
  std::string server_name_;
  Error error_;
  State state_ = State::kHandshake;
  bool begun_ = false;
  bool established_ = false;
  bool peer_ended_ = false;
  bool http2_ = false;
  bool named_identity_ = false;
  bool close_sealed_ = false;
  bool flooded_ = false;
  uint16_t idle_records_ = 0;  // that carried no data, since the last that did
};

}  // namespace sluice
