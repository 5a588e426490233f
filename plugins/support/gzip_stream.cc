#include "plugins/support/gzip_stream.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <zlib.h>

#include "gateway/base/result.h"

namespace sluice::plugins {
namespace {

constexpr int kGzipFormat = 16;  // added to the window's bits

// The window and the table as large as the input can use. 2^9 bytes are zlib's least.
int WindowBits(std::optional<uint64_t> length) {
  int bits = MAX_WBITS;
  while (length && bits > 9 && *length <= uint64_t{1} << (bits - 1)) --bits;
  return bits;
}

int FlushOf(GzipStream::Flush flush) {
  switch (flush) {
    case GzipStream::Flush::kSync:
      return Z_SYNC_FLUSH;
    case GzipStream::Flush::kEnd:
      return Z_FINISH;
    case GzipStream::Flush::kNone:
      break;
  }
  return Z_NO_FLUSH;
}

}  // namespace

struct GzipStream::State {
  z_stream stream{};
  ~State() { deflateEnd(&stream); }
};

GzipStream::GzipStream(std::unique_ptr<State> state) : state_(std::move(state)) {}
GzipStream::~GzipStream() = default;

std::unique_ptr<GzipStream> GzipStream::Make(int level, std::optional<uint64_t> length) {
  auto state = std::make_unique<State>();
  const int bits = WindowBits(length);
  const int table = std::max(1, 8 - (MAX_WBITS - bits));
  if (deflateInit2(&state->stream, level, Z_DEFLATED, bits + kGzipFormat, table,
                   Z_DEFAULT_STRATEGY) != Z_OK) {
    return nullptr;
  }
  return std::unique_ptr<GzipStream>(new GzipStream(std::move(state)));
}

void GzipStream::Add(std::string_view bytes, Flush flush, std::string& out) {
  constexpr size_t kStep = 16 * 1024;
  z_stream& stream = state_->stream;
  while (true) {
    const size_t part = std::min<size_t>(bytes.size(), std::numeric_limits<uInt>::max());
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream.avail_in = static_cast<uInt>(part);
    bytes.remove_prefix(part);
    const int mode = bytes.empty() ? FlushOf(flush) : Z_NO_FLUSH;
    do {
      const size_t before = out.size();
      out.resize(before + std::clamp<size_t>(stream.avail_in / 4, 64, kStep));
      stream.next_out = reinterpret_cast<Bytef*>(out.data() + before);
      stream.avail_out = static_cast<uInt>(out.size() - before);
      const int result = deflate(&stream, mode);
      // Nothing to do is no mistake (Z_BUF_ERROR); there are no others with valid arguments.
      SLUICE_CHECK(result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR);
      out.resize(out.size() - stream.avail_out);
    } while (stream.avail_out == 0);
    if (bytes.empty()) return;
  }
}

}  // namespace sluice::plugins
