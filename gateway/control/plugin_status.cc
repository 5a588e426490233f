#include "gateway/control/plugin_status.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "gateway/observe/series_labels.h"
#include "gateway/observe/series_row.h"

namespace sluice {
namespace {

constexpr size_t kShownPlugins = 30;

std::string Microseconds(Duration time) {
  char text[64];
  const int size = std::snprintf(text, sizeof(text), "%.3f",
                                 std::chrono::duration<double, std::micro>(time).count());
  return {text, static_cast<size_t>(std::clamp(size, 0, 63))};
}

void AppendRow(std::string& text, const std::array<std::string, 9>& cells) {
  constexpr std::array<size_t, 9> kWidths = {24, 20, 10, 10, 10, 8, 8, 8, 8};
  text += ' ';
  for (size_t i = 0; i < cells.size(); ++i) {
    const std::string gap(kWidths[i] - std::min(kWidths[i], cells[i].size()), ' ');
    text += ' ';
    text += i < 2 ? cells[i] + gap : gap + cells[i];
  }
  text += '\n';
}

}  // namespace

void PluginStatus::Add(const PluginStatus& other) {
  calls += other.calls;
  running += other.running;
  suspended += other.suspended;
  replies += other.replies;
  suspensions += other.suspensions;
  failures += other.failures;
  shadowed += other.shadowed;
}

std::vector<PluginStatus> ReadPlugins(const MetricSlabs& slabs) {
  std::vector<PluginStatus> plugins;
  slabs.plugins().ForEach([&](std::string_view labels, std::span<const uint64_t> sums) {
    const auto cost = RowOf<PluginCostOf<uint64_t>>(sums);
    if (cost.calls == 0) return;
    const PluginLabels names = PluginLabels::Unpack(labels);
    plugins.push_back({.route = std::string(names.route),
                       .plugin = std::string(names.plugin),
                       .calls = cost.calls,
                       .running = slabs.scale().Between(0, cost.running),
                       .suspended = slabs.scale().Between(0, cost.suspended),
                       .replies = cost.replies,
                       .suspensions = cost.suspensions,
                       .failures = cost.failures,
                       .shadowed = cost.shadowed});
  });
  std::stable_sort(
      plugins.begin(), plugins.end(),
      [](const PluginStatus& a, const PluginStatus& b) { return a.running > b.running; });
  return plugins;
}

void AppendPlugins(JsonWriter& json, const std::vector<PluginStatus>& plugins) {
  json.BeginArray();
  for (const PluginStatus& plugin : plugins) {
    json.BeginObject().Member("route", plugin.route).Member("plugin", plugin.plugin);
    json.Member("calls", plugin.calls);
    json.Member("running_ns", int64_t{plugin.running.count()});
    json.Member("suspended_ns", int64_t{plugin.suspended.count()});
    json.Member("replies", plugin.replies).Member("suspensions", plugin.suspensions);
    json.Member("failures", plugin.failures).Member("shadowed", plugin.shadowed).EndObject();
  }
  json.EndArray();
}

void AppendPlugins(std::string& text, const std::vector<PluginStatus>& plugins) {
  if (plugins.empty()) return;
  text += "\nplugins, since the start; times are microseconds a call\n";
  AppendRow(text, {"route", "plugin", "calls", "running", "suspended", "replies", "suspends",
                   "failures", "shadowed"});
  for (size_t i = 0; i < std::min(plugins.size(), kShownPlugins); ++i) {
    const PluginStatus& one = plugins[i];
    const auto calls = static_cast<int64_t>(one.calls);
    const auto waits = static_cast<int64_t>(std::max<uint64_t>(one.suspensions, 1));
    AppendRow(text,
              {one.route.empty() ? "(none)" : one.route, one.plugin, std::to_string(one.calls),
               Microseconds(one.running / calls), Microseconds(one.suspended / waits),
               std::to_string(one.replies), std::to_string(one.suspensions),
               std::to_string(one.failures), std::to_string(one.shadowed)});
  }
  if (plugins.size() > kShownPlugins) {
    text += "  and " + std::to_string(plugins.size() - kShownPlugins) +
            " that cost less: --json shows all\n";
  }
}

}  // namespace sluice
