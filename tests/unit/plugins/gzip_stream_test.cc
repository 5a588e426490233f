#include "plugins/support/gzip_stream.h"

#include <random>

#include <gtest/gtest.h>
#include <zlib.h>

namespace sluice::plugins {
namespace {

using Flush = GzipStream::Flush;

// What a reader has of `bytes` so far.
std::string Unpack(const std::string& bytes, bool& complete) {
  z_stream stream{};
  EXPECT_EQ(inflateInit2(&stream, MAX_WBITS + 16), Z_OK);
  std::string out(1 << 22, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int result = inflate(&stream, Z_SYNC_FLUSH);
  EXPECT_TRUE(result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR) << result;
  complete = result == Z_STREAM_END;
  out.resize(out.size() - stream.avail_out);
  inflateEnd(&stream);
  return out;
}

std::string RandomText(size_t size, unsigned letters) {
  std::mt19937 random(1);
  std::string text(size, ' ');
  for (char& c : text) c = static_cast<char>('a' + random() % letters);
  return text;
}

TEST(GzipStreamTest, WhatGoesInComesOut) {
  for (const size_t size : {0, 1, 100, 300, 5000, 70'000, 1'000'000}) {
    for (const int level : {1, 6, 9}) {
      for (const bool known : {true, false}) {
        const std::string text = RandomText(size, 4);
        auto stream = GzipStream::Make(level, known ? std::optional(uint64_t{size}) : std::nullopt);
        ASSERT_NE(stream, nullptr);
        std::string out;
        stream->Add(text, Flush::kEnd, out);
        bool complete = false;
        EXPECT_EQ(Unpack(out, complete), text) << size << " at " << level;
        EXPECT_TRUE(complete);
        if (size > 1000) {
          EXPECT_LT(out.size(), size / 2);
        }
      }
    }
  }
}

TEST(GzipStreamTest, PiecesMakeOneStream) {
  const std::string text = RandomText(200'000, 20);
  auto stream = GzipStream::Make(1, std::nullopt);
  std::string out;
  for (size_t at = 0; at < text.size(); at += 777) {
    stream->Add(std::string_view(text).substr(at, 777), Flush::kNone, out);
  }
  stream->Add({}, Flush::kEnd, out);
  bool complete = false;
  EXPECT_EQ(Unpack(out, complete), text);
  EXPECT_TRUE(complete);
}

TEST(GzipStreamTest, ASyncMakesAllReadable) {
  auto stream = GzipStream::Make(1, std::nullopt);
  std::string out;
  std::string text;
  for (int i = 0; i < 50; ++i) {
    const std::string event = "data: " + std::to_string(i) + "\n\n";
    text += event;
    stream->Add(event, Flush::kSync, out);
    bool complete = true;
    EXPECT_EQ(Unpack(out, complete), text);
    EXPECT_FALSE(complete);
  }
}

// What cannot be compressed grows by little.
TEST(GzipStreamTest, NoiseGrowsByLittle) {
  std::mt19937 random(1);
  std::string noise(500'000, ' ');
  for (char& c : noise) c = static_cast<char>(random());
  auto stream = GzipStream::Make(1, noise.size());
  std::string out;
  stream->Add(noise, Flush::kEnd, out);
  EXPECT_LT(out.size(), noise.size() + 1000);
  bool complete = false;
  EXPECT_EQ(Unpack(out, complete), noise);
}

}  // namespace
}  // namespace sluice::plugins
