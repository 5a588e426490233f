// Foreign bytes as they may stand in the detail of an Error: short, printable, in single quotes.
#pragma once

#include <string>
#include <string_view>

namespace sluice {

// At most 48 bytes of `text`; what is not printable ASCII becomes \xNN, a longer text ends in
// "...".
std::string Excerpt(std::string_view text);

}  // namespace sluice
