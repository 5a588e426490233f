// A bad sample: it uses std::string and does not include it. Shows that the check finds that.
#pragma once

std::string Name();
