# What every folder's CMakeLists.txt is written with:
#   drupe_library(NAME SOURCES ... DEPS ...)      a static library `drupe_NAME`
#   drupe_executable(NAME SOURCES ... DEPS ... [STATIC])   a program in <build>/bin
#   drupe_test(NAME SOURCES ... DEPS ... [LABELS ...] [TIMEOUT s])   a GoogleTest program and its ctest entry
#   drupe_fuzz(NAME SOURCES ... DEPS ...)         a libFuzzer program; without DRUPE_FUZZ it replays its corpus as a test

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_SKIP_RPATH ON)

set(DRUPE_SANITIZE "" CACHE STRING "Sanitizers, comma separated: address,undefined or thread")
option(DRUPE_FUZZ "Build libFuzzer targets (needs clang)" OFF)

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(GTest REQUIRED)

add_library(drupe_options INTERFACE)
target_include_directories(drupe_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_definitions(drupe_options INTERFACE
  _FILE_OFFSET_BITS=64 BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_HAS_STD_INVOKE_RESULT
  DRUPE_VERSION="${PROJECT_VERSION}")
target_compile_options(drupe_options INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wold-style-cast -Wcast-align
  -Wunused -Wformat=2 -Wimplicit-fallthrough -Werror
  -fno-omit-frame-pointer -ffile-prefix-map=${CMAKE_SOURCE_DIR}/=)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(drupe_options INTERFACE -Wthread-safety)
else()
  # GCC 12 reports maybe-uninitialized members of std::optional and Outcome results that are set.
  # Optimised, it takes std::string's operator+ for an overlapping copy (GCC bug 105651).
  target_compile_options(drupe_options INTERFACE
    -Wno-maybe-uninitialized $<$<CONFIG:Release>:-Wno-restrict>)
endif()
if(DRUPE_SANITIZE)
  target_compile_options(drupe_options INTERFACE
    -fsanitize=${DRUPE_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(drupe_options INTERFACE -fsanitize=${DRUPE_SANITIZE})
else()
  target_compile_definitions(drupe_options INTERFACE
    $<$<NOT:$<CONFIG:Debug>>:_FORTIFY_SOURCE=2>)
  target_compile_options(drupe_options INTERFACE
    -fstack-protector-strong $<$<CONFIG:Release>:-ffunction-sections> $<$<CONFIG:Release>:-fdata-sections>)
  target_link_options(drupe_options INTERFACE -Wl,-z,relro,-z,now $<$<CONFIG:Release>:-Wl,--gc-sections>)
endif()
if(DRUPE_FUZZ)
  target_compile_options(drupe_options INTERFACE -fsanitize=fuzzer-no-link)
  target_compile_definitions(drupe_options INTERFACE DRUPE_FUZZ=1)
endif()

# What a user runs; and with it the tests that need KVM, which run the release build.
add_custom_target(programs)
add_custom_target(kvm_tests DEPENDS programs)

function(drupe_library name)
  cmake_parse_arguments(A "" "" "SOURCES;DEPS" ${ARGN})
  add_library(drupe_${name} STATIC ${A_SOURCES})
  target_link_libraries(drupe_${name} PUBLIC drupe_options ${A_DEPS})
endfunction()

function(drupe_executable name)
  cmake_parse_arguments(A "STATIC" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${A_SOURCES})
  target_link_libraries(${name} PRIVATE drupe_options ${A_DEPS})
  # Sanitizer runtimes can't be linked statically.
  if(A_STATIC AND NOT DRUPE_SANITIZE AND NOT DRUPE_FUZZ)
    target_link_options(${name} PRIVATE -static)
  endif()
  add_dependencies(programs ${name})
endfunction()

function(drupe_test name)
  cmake_parse_arguments(A "" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${A_SOURCES})
  target_link_libraries(${name} PRIVATE drupe_options ${A_DEPS} GTest::gmock GTest::gtest_main)
  if(DRUPE_SANITIZE)
    target_compile_options(${name} PRIVATE -O0)  # What GoogleTest expands to takes twice as long at -O1.
  endif()
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 60)
  endif()
  if(NOT A_LABELS)
    set(A_LABELS unit)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${A_LABELS}" TIMEOUT ${A_TIMEOUT})
  if("kvm" IN_LIST A_LABELS)
    add_dependencies(kvm_tests ${name})
  endif()
endfunction()

function(drupe_fuzz name)
  cmake_parse_arguments(A "" "" "SOURCES;DEPS" ${ARGN})
  if(DRUPE_FUZZ)
    add_executable(${name} ${A_SOURCES})
    target_link_libraries(${name} PRIVATE drupe_options ${A_DEPS})
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  endif()
endfunction()
