"""The rules of the source tree, as data. checks.py reads them; docs: gateway/README.md."""

# A folder may include files of the folders named here, and of itself. A folder that is not named
# must not hold C++ sources.
INCLUDES = {
    "balancer": set(),
    "ratelimit": set(),
    "gateway/base": set(),
    "gateway/http": {"gateway/base"},
    "gateway/net": {"gateway/base"},
    "conf": {"gateway/base"},
    "gateway/routing": {"gateway/base", "gateway/http", "conf"},
    "gateway/observe": {"gateway/base", "gateway/http", "conf"},
    "gateway/plugin": {
        "gateway/base", "gateway/http", "conf", "gateway/routing", "gateway/observe", "ratelimit"},
    "gateway/snapshot": {
        "gateway/base", "gateway/http", "conf", "gateway/routing", "gateway/observe",
        "gateway/plugin", "balancer"},
    "gateway/proxy": {
        "gateway/base", "gateway/http", "gateway/net", "conf", "gateway/routing",
        "gateway/observe", "gateway/plugin", "gateway/snapshot", "balancer", "ratelimit"},
    "gateway/control": {
        "gateway/base", "gateway/http", "gateway/net", "conf", "gateway/routing",
        "gateway/observe", "gateway/plugin", "gateway/snapshot", "gateway/proxy", "balancer"},
    "plugins": {
        "plugins/support", "gateway/plugin", "gateway/base", "gateway/http", "conf", "gateway/routing",
        "gateway/observe", "balancer", "ratelimit"},
    "plugins/support": {
        "gateway/plugin", "gateway/base", "gateway/http", "conf", "gateway/routing",
        "gateway/observe", "balancer", "ratelimit"},
    "lua": {
        "gateway/plugin", "gateway/base", "gateway/http", "conf", "gateway/routing",
        "gateway/observe", "balancer", "ratelimit"},
    "gateway": {"gateway/control"},  # main.cc
}

# Third-party headers: a pattern, and where it may stand. "one .cc" means in one file of the folder,
# so that a heavy header is compiled once and its types do not spread.
ANYWHERE, CC, ONE_CC = "any file", "any .cc", "one .cc"
THIRD_PARTY = [
    # name, pattern of the header, {folder: where}
    ("libuv", r"uv\.h", {"gateway/net": CC}),
    ("c-ares", r"ares\w*\.h", {"gateway/net": CC}),
    ("libcrypt", r"crypt\.h", {"plugins/support": ONE_CC}),
    ("OpenSSL", r"openssl/.*", {"gateway/net": CC, "plugins": CC, "plugins/support": CC}),
    ("llhttp", r"llhttp\.h", {"gateway/http": ONE_CC}),
    ("nghttp2", r"nghttp2/.*", {"gateway/http": CC}),
    ("fmt", r"fmt/.*", {"gateway/base": CC}),
    ("tl::expected", r"tl/expected\.hpp", {"gateway/base": ANYWHERE}),
    ("yaml-cpp", r"yaml-cpp/.*", {"conf": ONE_CC}),
    ("RapidJSON", r"rapidjson/.*", {"conf": ONE_CC, "plugins/support": ONE_CC}),
    ("zlib", r"zlib\.h", {"plugins/support": ONE_CC}),
    ("nlohmann-json", r"nlohmann/.*", {"conf": ONE_CC}),
    ("RE2", r"re2/.*", {"gateway/routing": ONE_CC}),
    ("PCRE2", r"pcre2\.h", {"gateway/routing": ONE_CC}),
    ("CLI11", r"CLI/.*", {"gateway/control": ONE_CC}),
    ("SQLite", r"sqlite3\.h", {"gateway/control": ONE_CC}),
    ("prometheus-cpp", r"prometheus/.*", {"gateway/observe": ONE_CC}),
    ("robin-map", r"tsl/robin_\w+\.h", {
        "gateway/http": ANYWHERE, "gateway/net": ANYWHERE, "gateway/routing": ANYWHERE,
        "gateway/observe": ANYWHERE, "gateway/snapshot": ANYWHERE, "gateway/proxy": ANYWHERE}),
    ("xxHash", r"xxhash\.h", {
        "gateway/base": CC, "gateway/http": CC, "gateway/routing": CC, "gateway/snapshot": CC,
        "gateway/proxy": CC}),
]

# Folders of pure algorithms: nothing of the operating system, no clock.
PURE = {"balancer", "ratelimit"}
# Headers of the operating system that any other folder may use.
SYSTEM = (r"(sys|netinet|arpa|linux)/\w+\.h|(unistd|fcntl|signal|poll|pwd|grp|sched|netdb|dlfcn|"
          r"pthread|syslog|spawn|getopt|ifaddrs|glob|dirent)\.h|(immintrin|nmmintrin|emmintrin|cpuid)\.h")

CC_LINES = 500
HEADER_LINES = 250
FUNCTION_LINES = 60
README_LINES = 60
LONG_READMES = {"gateway"}  # the architecture and the decision log

TOP_FOLDERS = ["gateway", "plugins", "lua", "conf", "balancer", "ratelimit", "tests", "bench", "docs"]

# A type whose name ends so says nothing about what it is.
VAGUE_SUFFIXES = ("Manager", "Helper", "Helpers", "Util", "Utils", "Impl")

# Code (comments and literals do not count) that must not occur: pattern, reason.
BANNED_CODE = [
    (r"\bco_(await|return|yield)\b", "no coroutines: g++ 12 miscompiles them"),
    (r"\bstd::(basic_)?regex\b|#\s*include\s*<regex>", "no std::regex: it crashes on long input"),
    (r"#\s*include\s*<(coroutine|format|expected|source_location|iostream)>",
     "not in the language that we use"),
    (r"\bdelete\s+this\b", "memory goes by its owner (Close, then the loop reaps)"),
    (r"\busing\s+namespace\b", "names are written out"),
    (r"\bthrow\b", "errors are Results; our code throws nothing"),
    (r"\b(malloc|calloc|realloc|free)\s*\(", "memory has an owner: unique_ptr, containers, arenas"),
    (r"\b(sprintf|strcpy|strcat|gets|atoi|atol|atof)\s*\(", "unbounded or unchecked"),
]
BANNED_IN_PURE = [(r"::now\s*\(|\bclock_gettime\b|\btime\s*\(\s*(NULL|nullptr|0)\s*\)",
                   "a pure algorithm is told the time")]
