#!/usr/bin/env python3
"""Shows that each check finds what it is there for, and lets good code pass."""

import unittest

import checks
from source import code_of, functions_of

PREFIX = "// A thing. Owned by nobody.\n#pragma once\n"


def found(check, files, **arguments):
    return list(check(checks.Tree(files, **arguments)))


class IncludesTest(unittest.TestCase):
    def check(self, path, line, others=()):
        files = {path: line + "\n"}
        files.update({other: "" for other in others})
        return found(checks.check_includes, files)

    def test_lower_layer_must_not_include_a_higher_one(self):
        findings = self.check("gateway/http/uri.cc", '#include "gateway/net/loop.h"',
                              ["gateway/net/loop.h"])
        self.assertEqual(len(findings), 1)
        self.assertIn("gateway/http/uri.cc:1", findings[0])
        self.assertIn("gateway/net/loop.h", findings[0])

    def test_higher_layer_may_include_a_lower_one(self):
        self.assertEqual(self.check("gateway/proxy/exchange.cc",
                                    '#include "gateway/net/loop.h"', ["gateway/net/loop.h"]), [])

    def test_nobody_below_knows_a_plugin(self):
        self.assertTrue(self.check("gateway/proxy/exchange.cc", '#include "plugins/cors.h"',
                                   ["plugins/cors.h"]))

    def test_path_must_be_from_the_root(self):
        self.assertTrue(self.check("gateway/http/uri.cc", '#include "uri.h"',
                                   ["gateway/http/uri.h"]))

    def test_folder_without_a_row_is_found(self):
        self.assertTrue(self.check("gateway/misc/x.cc", ""))

    def test_comment_is_no_include(self):
        self.assertEqual(self.check("gateway/http/uri.cc", '// #include "gateway/net/loop.h"',
                                    ["gateway/net/loop.h"]), [])


class ThirdPartyTest(unittest.TestCase):
    def check(self, files):
        return found(checks.check_third_party, files)

    def test_libuv_only_in_net(self):
        self.assertTrue(self.check({"gateway/proxy/exchange.cc": "#include <uv.h>\n"}))
        self.assertEqual(self.check({"gateway/net/loop.cc": "#include <uv.h>\n"}), [])

    def test_libuv_not_in_a_header(self):
        self.assertTrue(self.check({"gateway/net/loop.h": "#include <uv.h>\n"}))

    def test_one_file_only(self):
        two = {"conf/a.cc": "#include <yaml-cpp/yaml.h>\n",
               "conf/b.cc": "#include <yaml-cpp/eventhandler.h>\n"}
        self.assertEqual(len(self.check(two)), 2)
        del two["conf/b.cc"]
        self.assertEqual(self.check(two), [])

    def test_unknown_library_is_found(self):
        self.assertTrue(self.check({"gateway/base/text.cc": "#include <boost/asio.hpp>\n"}))

    def test_pure_folder_sees_no_system_header(self):
        self.assertTrue(self.check({"balancer/ewma.cc": "#include <unistd.h>\n"}))
        self.assertEqual(self.check({"balancer/ewma.cc": "#include <vector>\n"}), [])
        self.assertEqual(self.check({"gateway/net/fd.cc": "#include <sys/socket.h>\n"}), [])


def function(lines, head="int F()"):
    return head + " {\n" + "  G();\n" * (lines - 2) + "}\n"


class SizesTest(unittest.TestCase):
    def check(self, path, text):
        return found(checks.check_sizes, {path: text})

    def test_file_limits(self):
        self.assertEqual(self.check("conf/x.cc", "\n" * 500), [])
        self.assertTrue(self.check("conf/x.cc", "\n" * 501))
        self.assertTrue(self.check("conf/x.h", "\n" * 251))

    def test_function_limit(self):
        self.assertEqual(self.check("conf/x.cc", function(60)), [])
        self.assertTrue(self.check("conf/x.cc", function(61)))

    def test_long_function_in_class_in_namespace(self):
        text = "namespace a {\nclass B final : public C<int> {\n public:\n" + function(
            61, "  template <class T = int>\n  Result<T> M(int x = 3) const noexcept") + "};\n}\n"
        findings = self.check("conf/x.h", text)
        self.assertEqual(len(findings), 1)
        self.assertIn("M has 61 lines", findings[0])

    def test_long_constructor_behind_initialisers(self):
        findings = self.check("conf/x.cc", function(61, "A::A(int x) : a_{x}, b_(x), c_{}"))
        self.assertEqual(len(findings), 1)
        self.assertIn("A::A has 61 lines", findings[0])

    def test_table_is_no_function(self):
        table = "constexpr Row kRows[] = {\n" + "    {Make(1), {}},\n" * 100 + "};\n"
        self.assertEqual(self.check("conf/x.cc", table), [])

    def test_struct_is_no_function(self):
        text = "struct A {\n" + "  int F() const { return 1; }\n" * 100 + "};\n"
        self.assertEqual(self.check("conf/x.cc", text), [])

    def test_tests_are_exempt(self):
        self.assertEqual(self.check("tests/unit/x_test.cc", function(100)), [])


class FunctionsTest(unittest.TestCase):
    def test_names_and_lengths(self):
        text = """
#define BRACES {{{
struct S {
  bool operator==(const S&) const = default;
  S& operator=(S&& other) noexcept {
    return *this;
  }
  explicit operator bool() const { return true; }
  int member_{3};
};
enum class E : unsigned char { kA, kB };
static const char* kText = "{ ' //";
const char kBrace = '{';
const int kBig = 1'000'000;
const char* kRaw = R"x(} { ")x";
extern "C" {
void Trampoline(void* p) noexcept { Call(p); }
}
auto Make(std::function<int(int)> f) -> Result<int> {
  auto lambda = [f](int x) {
    return f(x);
  };
  switch (f(1)) {
    default: { return lambda(2); }
  }
}
int last() { return 0; }
"""
        self.assertEqual([(f.name, f.lines) for f in functions_of(text)],
                         [("operator=", 3), ("operator bool", 1), ("Trampoline", 1), ("Make", 8),
                          ("last", 1)])

    def test_comments_and_literals_are_blank(self):
        code = code_of('int a;  // throw\n/* co_await\n */ f("throw", \'t\', 1\'000);\n')
        self.assertNotIn("throw", code)
        self.assertNotIn("co_await", code)
        self.assertIn("1'000", code)
        self.assertEqual(code.count("\n"), 3)


class LanguageTest(unittest.TestCase):
    def check(self, text, path="gateway/base/x.cc"):
        return found(checks.check_language, {path: text})

    def test_banned_code_is_found(self):
        for text in ["co_await x;", "std::regex r;", "#include <regex>", "#include <coroutine>",
                     "delete this;", "using namespace std;", "throw Error();", "p = malloc(3);",
                     "n = atoi(text);"]:
            self.assertEqual(len(self.check(text)), 1, text)

    def test_words_in_comments_and_literals_pass(self):
        self.assertEqual(self.check('// std::regex, throw\nconst char* k = "co_await";\n'), [])

    def test_pure_folder_has_no_clock(self):
        text = "auto t = std::chrono::steady_clock::now();\n"
        self.assertTrue(self.check(text, "ratelimit/gcra.cc"))
        self.assertEqual(self.check(text), [])


class HeadersTest(unittest.TestCase):
    def test_pragma_once_and_opening_comment(self):
        self.assertEqual(found(checks.check_headers, {"conf/x.h": PREFIX}), [])
        self.assertTrue(found(checks.check_headers, {"conf/x.h": "// A thing.\nint x;\n"}))
        self.assertTrue(found(checks.check_headers, {"conf/x.h": "#pragma once\n"}))


class NamesTest(unittest.TestCase):
    def check(self, path, text):
        return found(checks.check_names, {path: text})

    def test_vague_type_name_is_found(self):
        self.assertTrue(self.check("gateway/proxy/x.h", "class PoolManager {\n};\n"))
        self.assertTrue(self.check("gateway/proxy/x.h", "struct [[nodiscard]] UriUtil final {\n};"))
        self.assertEqual(self.check("gateway/proxy/x.h", "class Pool {\n};\n"), [])

    def test_file_name(self):
        self.assertTrue(self.check("gateway/proxy/UpstreamPool.h", ""))

    def test_namespace_is_the_top_folder(self):
        self.assertTrue(self.check("gateway/net/x.h", "namespace sluice::conf {\n}\n"))
        self.assertEqual(self.check("gateway/http/x.h", "namespace sluice::ascii {\n}\n"), [])
        self.assertTrue(self.check("balancer/x.h", "namespace sluice {\n}\n"))
        self.assertEqual(self.check("balancer/x.h", "namespace sluice::balancer {\n}\n"), [])
        self.assertEqual(self.check("gateway/net/x.h",
                                    "namespace sluice::conf {\n}\nnamespace sluice {\n}\n"), [])


class ReadmesTest(unittest.TestCase):
    def test_missing_or_long_readme_is_found(self):
        self.assertTrue(found(checks.check_readmes, {}, readmes={"conf": None}))
        self.assertTrue(found(checks.check_readmes, {}, readmes={"conf": "\n" * 61}))
        self.assertEqual(found(checks.check_readmes, {}, readmes={"conf": "# conf\n"}), [])


if __name__ == "__main__":
    unittest.main()
