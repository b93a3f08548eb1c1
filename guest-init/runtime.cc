// What libstdc++ brings for the failures that end drupe-init anyway: without these definitions the
// program would carry the unwinder, the demangler and the messages of exceptions nobody catches.

#include <cstdlib>
#include <memory>
#include <new>

void* operator new(size_t size) {
    void* memory = std::malloc(size == 0 ? 1 : size);
    if (memory == nullptr) std::abort();  // main() powers the machine off
    return memory;
}
void* operator new[](size_t size) {
    return operator new(size);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete[](void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, size_t /*size*/) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, size_t /*size*/) noexcept {
    std::free(memory);
}

// libstdc++'s names for what would be thrown.
namespace std {
void __throw_length_error(const char* /*what*/) {
    std::abort();
}
void __throw_logic_error(const char* /*what*/) {
    std::abort();
}
void __throw_out_of_range_fmt(const char* /*format*/, ...) {
    std::abort();
}
void __throw_bad_function_call() {
    std::abort();
}
void __throw_bad_alloc() {
    std::abort();
}
void __throw_bad_array_new_length() {
    std::abort();
}
void __throw_system_error(int /*error*/) {
    std::abort();
}
// Only asked by code with RTTI.
bool _Sp_make_shared_tag::_S_eq(const std::type_info& /*type*/) noexcept {
    return false;
}
}  // namespace std
