// A doubly linked list through the elements themselves: no allocation, O(1) removal from the
// middle. An element derives from ListNode<Tag> and may be in one list per tag; it unlinks itself
// when it dies. The list does not own its elements.
#pragma once

#include <cstddef>

namespace sluice {

template <typename Tag>
class ListNode {
 public:
  ListNode() = default;
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;
  ~ListNode() { Unlink(); }

  bool is_linked() const { return next_ != nullptr; }
  void Unlink() {
    if (next_ == nullptr) return;
    previous_->next_ = next_;
    next_->previous_ = previous_;
    previous_ = next_ = nullptr;
  }

 private:
  template <typename T, typename U>
  friend class IntrusiveList;

  ListNode* previous_ = nullptr;
  ListNode* next_ = nullptr;
};

template <typename T, typename Tag = T>
class IntrusiveList {
 public:
  IntrusiveList() { head_.previous_ = head_.next_ = &head_; }
  ~IntrusiveList() {
    while (PopFront() != nullptr) {
    }
    head_.previous_ = head_.next_ = nullptr;
  }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;

  bool empty() const { return head_.next_ == &head_; }
  T* front() { return empty() ? nullptr : static_cast<T*>(head_.next_); }
  T* back() { return empty() ? nullptr : static_cast<T*>(head_.previous_); }

  // The element after `element`, or null at the end.
  T* Next(T& element) {
    ListNode<Tag>* next = static_cast<ListNode<Tag>&>(element).next_;
    return next == &head_ ? nullptr : static_cast<T*>(next);
  }

  void PushBack(T& element) { InsertBefore(head_, element); }
  void PushFront(T& element) { InsertBefore(*head_.next_, element); }

  T* PopFront() {
    T* element = front();
    if (element != nullptr) static_cast<ListNode<Tag>*>(element)->Unlink();
    return element;
  }

 private:
  static void InsertBefore(ListNode<Tag>& position, ListNode<Tag>& node) {
    node.Unlink();
    node.previous_ = position.previous_;
    node.next_ = &position;
    position.previous_->next_ = &node;
    position.previous_ = &node;
  }

  ListNode<Tag> head_;
};

}  // namespace sluice
