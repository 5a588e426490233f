// What an exchange sees of its client: an HTTP/1 connection while it serves a request, one stream of
// an HTTP/2 connection, or the gateway itself (own_request.h). Outlives the exchange.
#pragma once

#include <cstdint>
#include <string_view>

#include "gateway/http/headers.h"
#include "gateway/http/message.h"

namespace sluice {

class ClientConnection;
class Exchange;
class Stream;

class ExchangeClient {
 public:
  // Null: the gateway itself.
  explicit ExchangeClient(ClientConnection* connection) : connection_(connection) {}

  // `head` and the bytes are lent until the callback ends.
  virtual void SendContinue() = 0;
  virtual void SendInformational(const ResponseHead& head) = 0;
  virtual void SendResponseHead(const ResponseHead& head, std::string_view via) = 0;
  virtual void SendResponseData(std::string_view bytes) = 0;
  virtual void FinishResponse(const HeaderList& trailers) = 0;
  virtual void AbortResponse() = 0;  // the body cannot be completed: cut it visibly

  // Instead of a response: `head` opens a tunnel. From now on OnRequestData gets what the client
  // sends, OnRequestEnd its end; SendResponseData and FinishResponse are the other direction. Until
  // now the head was the whole request: what the client sent behind it was held back, and is handed
  // on before this returns.
  virtual void BeginTunnel(const ResponseHead& head) = 0;

  virtual void CloseAfterResponse() = 0;  // the connection, where it carries one request at a time
  virtual void PauseRequestBody() = 0;
  virtual void ResumeRequestBody() = 0;
  virtual void OnExchangeDone() = 0;  // response and record are complete; the body may still come

  // Where response bytes may go as they are, past SendResponseData; null: nowhere.
  virtual Stream* relay_sink() = 0;
  void CountRelayed(uint64_t count) { response_bytes_out_ += count; }

  virtual bool is_serving(const Exchange& exchange) const = 0;

  const ClientConnection* connection() const { return connection_; }
  uint64_t request_number() const { return request_number_; }  // on its connection, from 1
  uint64_t request_bytes_in() const { return request_bytes_in_; }
  uint64_t response_bytes_out() const { return response_bytes_out_; }

 protected:
  ~ExchangeClient() = default;

  ClientConnection* const connection_;
  uint64_t request_number_ = 0;
  uint64_t request_bytes_in_ = 0;
  uint64_t response_bytes_out_ = 0;
};

}  // namespace sluice
