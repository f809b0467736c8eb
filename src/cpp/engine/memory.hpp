// Aligned memory that grows and is reused.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "../kernels/kernels.hpp"

namespace grufast {

constexpr std::size_t kAlignment = 64;
// Large buffers ask for huge pages: panels lie many small pages apart.
constexpr std::size_t kHugePage = std::size_t{2} << 20;

class Buffer {
  public:
    // At least so many bytes, contents undefined. Throws std::bad_alloc.
    void* reserve(std::size_t bytes) {
        if (bytes > size_) {
            data_.reset();
            size_ = 0;
            const std::align_val_t alignment{bytes >= kHugePage ? kHugePage : kAlignment};
            data_ = {::operator new(bytes, alignment), Free{alignment}};
            size_ = bytes;
#ifdef __linux__
            if (bytes >= kHugePage) madvise(data_.get(), bytes, MADV_HUGEPAGE);
#endif
        }
        return data_.get();
    }
    void* data() const { return data_.get(); }
    std::size_t size() const { return size_; }

  private:
    struct Free {
        std::align_val_t alignment;
        void operator()(void* p) const { ::operator delete(p, alignment); }
    };
    std::unique_ptr<void, Free> data_;
    std::size_t size_ = 0;
};

template <class T>
T* reserve(Buffer& buffer, Index n) {
    return static_cast<T*>(buffer.reserve(static_cast<std::size_t>(n) * sizeof(T)));
}
template <class T>
T* data(const Buffer& buffer) {
    return static_cast<T*>(buffer.data());
}

// A product of sizes; throws std::bad_alloc where no memory could hold so many elements.
template <class... Sizes>
Index elements(Sizes... sizes) {
    Index product = 1;
    for (const Index size : {static_cast<Index>(sizes)...}) {
        if (__builtin_mul_overflow(product, size, &product) || product > (Index{1} << 58)) {
            throw std::bad_alloc();
        }
    }
    return product;
}

}  // namespace grufast
