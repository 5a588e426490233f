// What the gateway has to know of gRPC over HTTP/2: how to tell a client about a failure of ours,
// and how long it is willing to wait.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "gateway/base/time.h"
#include "gateway/http/message.h"

namespace sluice {

// Does the client speak gRPC, so that a failure has to be told in its way?
bool IsGrpc(const RequestHead& head);

// google.rpc.Code for a status that we would answer.
int GrpcStatusOf(int http_status);

// The status that a google.rpc.Code stands for: 200 for OK.
int HttpStatusOfGrpc(uint64_t code);

// How a node did, by the status and the fields of a head or by its trailers: 200 may carry a
// failure of gRPC. UNIMPLEMENTED is the caller's mistake and stays 200.
int OutcomeStatus(int status, const HeaderList& fields);

// The value of grpc-message: printable ASCII, the rest percent-encoded.
std::string GrpcMessage(std::string_view text);

// The value of grpc-timeout, "100m"; null when it is not one.
std::optional<Duration> ParseGrpcTimeout(std::string_view text);

}  // namespace sluice
