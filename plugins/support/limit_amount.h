// A number in the configuration of a limit: written there, or a text with $variables that each
// request makes one of.
#pragma once

#include <cstdint>
#include <optional>

#include "conf/types.h"
#include "gateway/base/result.h"
#include "gateway/http/text_template.h"
#include "gateway/plugin/request_context.h"

namespace sluice::plugins {

struct LimitAmount {
  uint64_t number = 0;
  std::optional<TextTemplate> text;  // then `number` is nothing

  // An error says what came instead of an integer from `min` to `max`.
  Result<uint64_t> Of(RequestContext& request, uint64_t min, uint64_t max) const;
};

// As a type of a field.
struct LimitAmountField {
  uint64_t min = 1;
  uint64_t max = UINT32_MAX;
  std::optional<LimitAmount> operator()(const conf::Place& place) const;
  conf::TypeSchema Schema() const;
};

}  // namespace sluice::plugins
