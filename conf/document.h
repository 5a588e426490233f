// The sections of a whole document, and its way from files to a Config. Internal to conf/.
#pragma once

#include <memory>

#include "conf/resources.h"
#include "conf/types.h"

namespace sluice::conf {

// Diagnoses sections that are unknown, not built, or in the wrong place.
void CheckSections(const Place& root);

// From a merged document, to which `vars` of the result point.
std::shared_ptr<const Config> Decode(Node document, Diagnostics& diagnostics);

}  // namespace sluice::conf
