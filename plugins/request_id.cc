#include "plugins/request_id.h"

#include <algorithm>

#include "gateway/plugin/registration.h"
#include "plugins/support/header_fields.h"
#include "plugins/support/identifiers.h"

namespace sluice::plugins {

SLUICE_PLUGIN(RequestId);

namespace {

bool IsVisible(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

const conf::Fields<RequestId::RangeId>& RangeIdFields() {
  using T = RequestId::RangeId;
  static const conf::Fields<T> kFields = {
      conf::Declare("char_set", &T::char_set,
                    conf::TextLike{"visible ASCII characters", IsVisible, "^[!-~]*$", {6, 256}},
                    "Characters to choose from; one that stands there twice comes twice as often."),
      conf::Declare("length", &T::length, conf::Integer<size_t>{6, 256}, "How many."),
  };
  return kFields;
}

}  // namespace

const conf::Fields<RequestId::Config>& RequestId::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = {
      conf::Declare("header_name", &T::header_name, FieldName(),
                    "The field of the request. A value that the client has sent there stays."),
      conf::Declare("include_in_response", &T::include_in_response, conf::Boolean{},
                    "The response has the field too, unless the upstream sets it."),
      conf::Declare("algorithm", &T::algorithm,
                    conf::Choice<Algorithm>{{{"uuid", Algorithm::kUuid},
                                             {"nanoid", Algorithm::kNanoId},
                                             {"range_id", Algorithm::kRangeId},
                                             {"ksuid", Algorithm::kKsuid},
                                             {"uuidv7", Algorithm::kUuidV7}}},
                    "How identifiers are made: random (`uuid`, `nanoid`, `range_id`), or so that "
                    "they sort by time (`ksuid`, `uuidv7`). They can be guessed: they are names, "
                    "not secrets."),
      conf::Declare("range_id", &T::range_id, conf::Record<RangeId>{RangeIdFields()},
                    "For the algorithm of this name."),
  };
  return kFields;
}

std::string RequestId::MakeId(RequestContext& request) const {
  const RandomBits random = [&request] { return request.services().Random(); };
  switch (config_.algorithm) {
    case Algorithm::kUuid:
      break;
    case Algorithm::kNanoId:
      return MakeNanoId(random);
    case Algorithm::kRangeId:
      return MakeFromSet(config_.range_id.char_set, config_.range_id.length, random);
    case Algorithm::kKsuid:
      return MakeKsuid(WallNow(), random);
    case Algorithm::kUuidV7:
      return MakeUuidV7(WallNow(), random);
  }
  return MakeUuidV4(random);
}

Verdict RequestId::OnRewrite(RequestContext& request) const {
  std::string_view id = request.Header(config_.header_name);
  if (id.empty()) {
    id = request.arena().Copy(MakeId(request));
    request.SetHeader(config_.header_name, id);
  }
  request.State<Given>().id = id;
  return Verdict::kContinue;
}

Verdict RequestId::OnHeaderFilter(RequestContext& request, ResponseContext& response) const {
  const std::string_view id = request.State<Given>().id;
  if (config_.include_in_response && !id.empty() && response.Header(config_.header_name).empty()) {
    response.SetHeader(config_.header_name, id);
  }
  return Verdict::kContinue;
}

}  // namespace sluice::plugins
