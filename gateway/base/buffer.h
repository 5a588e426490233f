// A byte queue: appended at the end, consumed at the front, contiguous. Holds what could not be
// sent or parsed yet; an empty one holds no memory.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>

namespace sluice {

class Buffer {
 public:
  size_t size() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }
  std::string_view view() const { return {data_.get() + begin_, size()}; }

  void Append(std::string_view bytes) {
    if (bytes.empty()) return;
    Reserve(bytes.size());
    std::memcpy(data_.get() + end_, bytes.data(), bytes.size());
    end_ += bytes.size();
  }

  // Precondition: count <= size(). Gives the memory back when nothing is left.
  void Consume(size_t count) {
    begin_ += count;
    if (begin_ == end_) Clear();
  }

  void Clear() {
    data_.reset();
    begin_ = end_ = capacity_ = 0;
  }

 private:
  void Reserve(size_t more) {
    if (capacity_ - end_ >= more) return;
    const size_t used = size();
    const size_t wanted = used + more;
    if (wanted <= capacity_ && begin_ >= capacity_ / 2) {
      std::memmove(data_.get(), data_.get() + begin_, used);
    } else {
      size_t capacity = capacity_ < 512 ? 512 : capacity_;
      while (capacity < wanted) capacity *= 2;
      auto grown = std::make_unique_for_overwrite<char[]>(capacity);
      if (used > 0) std::memcpy(grown.get(), data_.get() + begin_, used);
      data_ = std::move(grown);
      capacity_ = capacity;
    }
    begin_ = 0;
    end_ = used;
  }

  std::unique_ptr<char[]> data_;
  size_t begin_ = 0;
  size_t end_ = 0;
  size_t capacity_ = 0;
};

}  // namespace sluice
