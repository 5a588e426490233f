#include "conf/diagnostics.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "gateway/base/json_writer.h"
#include "gateway/base/text.h"

namespace sluice::conf {
namespace {

// An excerpt shows at most this many characters around the caret: a document from the controller is
// one line of megabytes.
constexpr size_t kExcerptBefore = 60;
constexpr size_t kExcerptWidth = 100;

bool StartsCharacter(char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }

std::string_view LineOf(std::string_view text, uint32_t line) {
  for (uint32_t i = 1; i < line; ++i) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  text = text.substr(0, text.find('\n'));
  if (text.ends_with('\r')) text.remove_suffix(1);
  return text;
}

// The byte offset of the character `count` characters after the start.
size_t Advance(std::string_view text, size_t count) {
  size_t i = 0;
  while (i < text.size() && count > 0) {
    ++i;
    while (i < text.size() && !StartsCharacter(text[i])) ++i;
    --count;
  }
  return i;
}

// The text with what a terminal would not show in one column made visible: a tab shifts the caret.
void AppendPrintable(std::string& out, std::string_view text) {
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    const auto byte = static_cast<unsigned char>(text.front());
    const bool control = byte < 0x20 || byte == 0x7f;
    if (control || length == 0) {
      out += control ? ' ' : '?';
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
}

void AppendExcerpt(std::string& out, std::string_view line, Position position) {
  const size_t caret = position.column == 0 ? 0 : position.column - 1;
  const size_t skipped = caret > kExcerptBefore ? caret - kExcerptBefore : 0;
  std::string_view shown = line.substr(Advance(line, skipped));
  const bool cut_after = Advance(shown, kExcerptWidth) < shown.size();
  shown = shown.substr(0, Advance(shown, kExcerptWidth));

  const std::string number = std::to_string(position.line);
  const std::string before = skipped > 0 ? "..." : "";
  out += "  " + number + " | " + before;
  AppendPrintable(out, shown);
  if (cut_after) out += "...";
  out += "\n  " + std::string(number.size(), ' ') + " | ";
  out += std::string(before.size() + caret - skipped, ' ') + "^\n";
}

// In the order of the sources, so that a reader goes through each file once.
std::vector<const Diagnostic*> InOrder(const std::vector<Diagnostic>& list) {
  std::vector<const Diagnostic*> out;
  out.reserve(list.size());
  for (const Diagnostic& item : list) out.push_back(&item);
  std::stable_sort(out.begin(), out.end(), [](const Diagnostic* a, const Diagnostic* b) {
    return std::tie(a->position.file, a->position.line, a->position.column) <
           std::tie(b->position.file, b->position.line, b->position.column);
  });
  return out;
}

}  // namespace

uint32_t Diagnostics::AddSource(std::string name, std::string text) {
  sources_.push_back({std::move(name), std::move(text)});
  return static_cast<uint32_t>(sources_.size() - 1);
}

void Diagnostics::Add(Position position, std::string path, std::string message, std::string hint) {
  ++total_;
  if (list_.size() >= kMaximum) return;
  list_.push_back({position, std::move(path), std::move(message), std::move(hint)});
}

std::string Diagnostics::Locate(Position position) const {
  if (position.file >= sources_.size()) return {};
  const std::string& name = sources_[position.file].name;
  return position.line == 0 ? name : name + ":" + std::to_string(position.line);
}

std::string Diagnostics::ToText() const {
  std::string out;
  for (const Diagnostic* entry : InOrder(list_)) {
    const Diagnostic& item = *entry;
    std::string place = Locate(item.position);
    if (item.position.line > 0) place += ":" + std::to_string(item.position.column);
    if (!place.empty()) out += place + ": ";
    out += "error: ";
    if (!item.path.empty()) out += item.path + ": ";
    out += item.message + "\n";
    if (item.position.line > 0 && item.position.file < sources_.size()) {
      const std::string& text = sources_[item.position.file].text;
      AppendExcerpt(out, LineOf(text, item.position.line), item.position);
    }
    if (!item.hint.empty()) out += "  hint: " + item.hint + "\n";
  }
  if (total_ > list_.size()) {
    out += "error: " + std::to_string(total_ - list_.size()) + " more are not shown\n";
  }
  return out;
}

std::string Diagnostics::ToJson() const {
  std::string out;
  JsonWriter writer(out);
  writer.BeginArray();
  for (const Diagnostic* entry : InOrder(list_)) {
    const Diagnostic& item = *entry;
    const bool known = item.position.file < sources_.size();
    writer.BeginObject();
    writer.Member("file", known ? std::string_view(sources_[item.position.file].name) : "");
    writer.Member("line", uint64_t{item.position.line});
    writer.Member("column", uint64_t{item.position.column});
    writer.Member("path", std::string_view(item.path));
    writer.Member("message", std::string_view(item.message));
    writer.Member("hint", std::string_view(item.hint));
    writer.EndObject();
  }
  writer.EndArray();
  return out;
}

}  // namespace sluice::conf
