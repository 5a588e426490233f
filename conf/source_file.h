// Reading small regular files whole, with a limit: configuration, includes, ${file:...}.
#pragma once

#include <cstddef>
#include <string>

#include "gateway/base/result.h"

namespace sluice::conf {

// The bytes of a regular file of at most `limit` bytes. Never blocks on a pipe or device.
Result<std::string> ReadRegularFile(const std::string& path, size_t limit);

// `path` as written in a file that lies in `directory` ("" is the working directory).
std::string ResolvePath(const std::string& directory, const std::string& path);
std::string DirectoryOf(const std::string& path);

}  // namespace sluice::conf
