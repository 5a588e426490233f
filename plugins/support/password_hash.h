// Passwords as they are stored in files: hashes of crypt(3) in bcrypt ("$2b$10$..."), SHA-512
// ("$6$...") , SHA-256 ("$5$...") or yescrypt ("$y$..."), as mkpasswd, openssl passwd and htpasswd
// write them. Older methods are refused.
#pragma once

#include <string>
#include <string_view>

#include "gateway/base/result.h"

namespace sluice::plugins {

// Is it such a hash, complete, and at a cost that a request may have (bcrypt up to 14, SHA up to
// 1,000,000 rounds, yescrypt up to 8)?
Status CheckPasswordHash(std::string_view hash);

// Takes milliseconds to a second: not for a loop thread. Compares in constant time.
// Precondition: CheckPasswordHash has passed.
bool MatchesPasswordHash(const std::string& password, const std::string& hash);

}  // namespace sluice::plugins
