# mimalloc and simdjson: the system's packages where they are found, else pinned releases
# built in, static and with hidden symbols. Without a network, unpack the sources and name
# them by FETCHCONTENT_SOURCE_DIR_MIMALLOC and FETCHCONTENT_SOURCE_DIR_SIMDJSON.
#
# Two targets come out: cirron_mimalloc and cirron_simdjson.

option(CIRRON_SYSTEM_LIBRARIES "Use the system's mimalloc and simdjson where they are found" ON)
include(FetchContent)

if(CIRRON_SYSTEM_LIBRARIES)
  find_package(mimalloc 2.0 QUIET)
  find_package(simdjson 3.0 QUIET)
endif()

add_library(cirron_mimalloc INTERFACE)
if(mimalloc_FOUND)
  # Debian's shared mimalloc defines malloc and operator delete. libstdc++ must come before
  # it, or else its own calls bind to mimalloc and free what others allocated.
  target_link_libraries(cirron_mimalloc INTERFACE stdc++ mimalloc)
else()
  # Ours alone: it must not become the process's malloc, and its thread-local data must
  # not use up the little room that dlopen has for static TLS.
  set(MI_OVERRIDE OFF CACHE INTERNAL "")
  set(MI_LOCAL_DYNAMIC_TLS ON CACHE INTERNAL "")
  set(MI_BUILD_SHARED OFF CACHE INTERNAL "")
  set(MI_BUILD_OBJECT OFF CACHE INTERNAL "")
  set(MI_BUILD_TESTS OFF CACHE INTERNAL "")
  FetchContent_Declare(
    mimalloc
    URL https://github.com/microsoft/mimalloc/archive/refs/tags/v2.0.9.tar.gz
    URL_HASH SHA256=4a29edae32a914a706715e2ac8e7e4109e25353212edeed0888f4e3e15db5850)
  FetchContent_MakeAvailable(mimalloc)
  target_link_libraries(cirron_mimalloc INTERFACE mimalloc-static)
endif()

add_library(cirron_simdjson INTERFACE)
if(simdjson_FOUND)
  target_link_libraries(cirron_simdjson INTERFACE simdjson::simdjson)
else()
  set(SIMDJSON_DEVELOPER_MODE OFF CACHE INTERNAL "")
  set(BUILD_SHARED_LIBS OFF)
  FetchContent_Declare(
    simdjson
    URL https://github.com/simdjson/simdjson/archive/refs/tags/v3.0.1.tar.gz
    URL_HASH SHA256=156b1bc5eb0561b2bd166b46d191fd3d95a3e709cc63761477d3b7aec2b6e9ed)
  FetchContent_MakeAvailable(simdjson)
  target_link_libraries(cirron_simdjson INTERFACE simdjson)
endif()
