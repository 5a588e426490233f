// What the command line prints: results on standard output, errors on standard error.
#pragma once

#include <cstdio>
#include <string_view>

namespace sluice {

inline void PrintOut(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }
inline void PrintError(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }

}  // namespace sluice
