// A request as the router sees it, from a few texts.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "gateway/http/request_view.h"

namespace sluice {

struct TestRequest {
  TestRequest(std::string_view method, std::string_view request_host, std::string_view target,
              std::initializer_list<std::pair<std::string_view, std::string_view>> fields = {},
              std::string_view client = "127.0.0.1")
      : method_(method), host_(request_host), target_(target) {
    head_.method = FindMethod(method_);
    head_.method_text = method_;
    head_.target = target_;
    head_.authority = host_;
    const size_t mark = target_.find('?');
    head_.path = std::string_view(target_).substr(0, mark);
    head_.has_query = mark != std::string::npos;
    if (head_.has_query) head_.query = std::string_view(target_).substr(mark + 1);
    for (const auto& [name, value] : fields) head_.fields.Add(name, value);
    view.head = &head_;
    view.scheme = "http";
    view.host = host_;
    view.path = head_.path;
    view.client_ip = IpAddress::Parse(client).value();
    view.peer_ip = view.client_ip;
  }
  TestRequest(const TestRequest&) = delete;
  TestRequest& operator=(const TestRequest&) = delete;

  RequestHead& head() { return head_; }
  RequestView view;

 private:
  std::string method_;
  std::string host_;
  std::string target_;
  RequestHead head_;
};

}  // namespace sluice
