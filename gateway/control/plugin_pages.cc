// `sluice plugins`: what the plugins of this binary say of themselves, as a list, as JSON, and as
// the pages in docs/plugins.
#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "gateway/base/json_writer.h"
#include "gateway/base/result.h"
#include "gateway/control/commands.h"
#include "gateway/control/console.h"
#include "gateway/plugin/plugin.h"
#include "gateway/plugin/registry.h"

namespace sluice {
namespace {

constexpr std::string_view kPhaseNames[kPhases] = {"rewrite",       "access",      "before_proxy",
                                                   "header_filter", "body_filter", "log"};

std::string Phases(const PluginKind& kind, std::string_view quote) {
  std::string text;
  for (size_t i = 0; i < kPhases; ++i) {
    if (!kind.has(static_cast<Phase>(i))) continue;
    text.append(text.empty() ? "" : ", ").append(quote).append(kPhaseNames[i]).append(quote);
  }
  return text;
}

// In a table's cell.
std::string Cell(std::string_view text) {
  std::string cell;
  for (const char c : text) {
    if (c == '|') cell += '\\';
    cell += c;
  }
  return cell;
}

void AppendRows(std::string& page, const std::vector<conf::FieldSchema>& fields,
                const std::string& prefix) {
  for (const conf::FieldSchema& field : fields) {
    const std::string name = prefix + std::string(field.name);
    const std::string fallback = field.required           ? "required"
                                 : field.fallback.empty() ? ""
                                                          : "`" + Cell(field.fallback) + "`";
    page.append("| `" + name + "` | " + Cell(field.type.text) + " | " + fallback + " | " +
                Cell(field.doc) + " |\n");
    AppendRows(page, field.type.fields, name + ".");
  }
}

void AppendTable(std::string& page, std::string_view title,
                 const std::vector<conf::FieldSchema>& fields) {
  page.append("\n## ").append(title).append("\n");
  if (fields.empty()) {
    page += "None.\n";
    return;
  }
  page += "| field | value | default | meaning |\n|---|---|---|---|\n";
  AppendRows(page, fields, "");
}

std::string Indented(std::string_view text, std::string_view indent) {
  std::string out(indent);
  for (const char c : text) {
    out += c;
    if (c == '\n') out += indent;
  }
  return out + "\n";
}

std::string Page(const PluginKind& kind) {
  const PluginTraits& traits = kind.traits;
  std::string page =
      "# " + std::string(traits.name) + "\n\n" + std::string(traits.summary) + "\n\n";
  page += "Priority " + std::to_string(traits.priority) + ". Runs in " + Phases(kind, "`") + ".\n";
  page += traits.on_failure == FailureMode::kOpen ? "When it fails, the request goes on.\n"
                                                  : "When it fails, the request ends with 500.\n";
  if (traits.enforces) page += "`_meta.mode: shadow` lets it decide without effect.\n";
  AppendTable(page, "Fields", kind.schema());
  if (kind.metadata_schema != nullptr) {
    AppendTable(page, "Fields of plugin_metadata", kind.metadata_schema());
  }
  if (kind.credential_schema != nullptr) {
    AppendTable(page, "Fields of a consumer", kind.credential_schema());
  }
  if (!traits.example.empty()) {
    page += "\n## Example\n```yaml\nplugins:\n  " + std::string(traits.name) + ":\n" +
            Indented(traits.example, "    ") + "```\n";
  }
  return page + "\n*This page is written by `sluice plugins --docs docs/plugins`.*\n";
}

std::string ListAsJson() {
  std::string text;
  JsonWriter json(text);
  json.BeginArray();
  for (const PluginKind* const kind : PluginRegistry::All()) {
    const PluginTraits& traits = kind->traits;
    json.BeginObject().Member("name", traits.name).Member("priority", int64_t{traits.priority});
    json.Member("summary", traits.summary).Member("enforces", traits.enforces);
    json.Member("authenticates", traits.authenticates);
    json.Member("on_failure", traits.on_failure == FailureMode::kOpen ? "open" : "closed");
    json.Member("example", traits.example);
    json.Key("phases").Raw("[" + Phases(*kind, "\"") + "]");
    json.Key("schema").Raw("{" + conf::SchemaJson(kind->schema()) + "}");
    if (kind->metadata_schema != nullptr) {
      json.Key("metadata_schema").Raw("{" + conf::SchemaJson(kind->metadata_schema()) + "}");
    }
    if (kind->credential_schema != nullptr) {
      json.Key("consumer_schema").Raw("{" + conf::SchemaJson(kind->credential_schema()) + "}");
    }
    json.EndObject();
  }
  json.EndArray();
  return text + "\n";
}

std::string ListAsText() {
  std::string text;
  for (const PluginKind* const kind : PluginRegistry::All()) {
    std::string name(kind->traits.name);
    name.resize(std::max<size_t>(name.size() + 2, 24), ' ');
    text.append(name).append(kind->traits.summary).append("\n");
  }
  return text;
}

Status WriteFile(const std::string& path, std::string_view text) {
  const auto close = [](std::FILE* file) { std::fclose(file); };
  const std::unique_ptr<std::FILE, decltype(close)> file(std::fopen(path.c_str(), "w"), close);
  if (file == nullptr || std::fwrite(text.data(), 1, text.size(), file.get()) != text.size() ||
      std::fflush(file.get()) != 0) {
    return SystemError("write " + path, errno);
  }
  return {};
}

}  // namespace

int RunPlugins(const Options& options) {
  if (options.docs.empty()) {
    PrintOut(options.json ? ListAsJson() : ListAsText());
    return kExitOk;
  }
  for (const PluginKind* const kind : PluginRegistry::All()) {
    const std::string path = options.docs + "/" + std::string(kind->traits.name) + ".md";
    if (const Status written = WriteFile(path, Page(*kind)); !written.has_value()) {
      PrintError("sluice: " + written.error().detail + "\n");
      return kExitFailed;
    }
  }
  return kExitOk;
}

}  // namespace sluice
