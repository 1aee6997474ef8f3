# SPDX-License-Identifier: Apache-2.0
# Compiler and linker settings shared by every target.
add_library(masque_options INTERFACE)

target_compile_options(masque_options INTERFACE
  -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
  -Wno-missing-field-initializers  # designated initialisers leave the rest at their defaults
  -fno-strict-aliasing)
if(MASQUE_WERROR)
  target_compile_options(masque_options INTERFACE -Werror)
endif()

if(MASQUE_SANITIZE)
  target_compile_options(masque_options INTERFACE
    -fsanitize=${MASQUE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(masque_options INTERFACE -fsanitize=${MASQUE_SANITIZE})
  target_compile_definitions(masque_options INTERFACE MASQUE_SANITIZED=1)
  if(MASQUE_SANITIZE STREQUAL "thread")
    # GCC takes std::optional's empty state for uninitialized here, and here alone.
    target_compile_options(masque_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  endif()
else()
  target_compile_options(masque_options INTERFACE -fstack-protector-strong -fPIE)
  target_compile_definitions(masque_options INTERFACE $<$<CONFIG:Release,RelWithDebInfo>:_FORTIFY_SOURCE=3>)
  target_link_options(masque_options INTERFACE -pie -Wl,-z,relro,-z,now)
endif()

if(MASQUE_MUTANTS)
  target_compile_definitions(masque_options INTERFACE MASQUE_MUTANTS=1)
endif()
if(MASQUE_FUZZ)
  target_compile_options(masque_options INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(masque_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(MASQUE_COVERAGE)
  target_compile_options(masque_options INTERFACE --coverage)
  target_link_options(masque_options INTERFACE --coverage)
endif()
if(MASQUE_LTO)
  # Fat objects: programs that are shipped link with masque_lto, tests and benches link the plain code and
  # do not pay for a whole-program pass each.
  target_compile_options(masque_options INTERFACE -flto=auto -ffat-lto-objects)
  target_link_options(masque_options INTERFACE -fno-lto)
endif()
add_library(masque_lto INTERFACE)
if(MASQUE_LTO)
  target_link_options(masque_lto INTERFACE -flto=auto -fuse-linker-plugin)
endif()
if(MASQUE_TIDY)
  set(CMAKE_CXX_CLANG_TIDY clang-tidy-19 --quiet)
endif()
