// ${VAR}, ${VAR:-default}, ${file:path}, ${base64:path} and APISIX's ${{VAR}}, ${{VAR:=default}} in
// the keys and scalars of a parsed file. `$${` stands for `${`. It works on values and not on text,
// so that no value can change the structure of a document.
#pragma once

#include <string>

#include "conf/config_tree.h"
#include "conf/diagnostics.h"

namespace sluice::conf {

struct SubstitutionLimits {
  size_t file = 1024 * 1024;        // of one ${file:...}
  size_t total = 64 * 1024 * 1024;  // of all values of a document
};

// Replaces in place. A plain scalar that is nothing but one substitution is typed again, so that
// `weight: ${W}` is a number and `weight: "${W}"` is text. Relative file paths are taken from
// `directory`.
void Substitute(Node& root, const std::string& directory, Diagnostics& diagnostics,
                const SubstitutionLimits& limits = {});

}  // namespace sluice::conf
