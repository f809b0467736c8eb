// What the machine can do at most: multiply-adds in registers, and reading from each level of
// memory. The other programs' rates are to be read against these.
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "engine/threads.hpp"
#include "program.hpp"

namespace grufast {
namespace {

// Chains a = a x + y that do not wait for each other: enough of them to hide the latency of a
// multiplication and an addition, few enough for them, x and y to stay in 16 registers.
constexpr int kChains = 14;
constexpr int kLinks = 256;  // of each chain, per call
constexpr int kSums = 8;     // of what is read: they hide the latency of an addition

#if defined(__x86_64__)
#define GRUFAST_REGISTER "+x"
#define GRUFAST_TARGET(isa) __attribute__((target(isa)))
#elif defined(__aarch64__)
#define GRUFAST_REGISTER "+w"
#define GRUFAST_TARGET(isa)
#endif

// The loops for one instruction set. Each empty asm may change its value as far as the compiler
// knows, which so has to compute it, in a register.
#define GRUFAST_LOOPS(name, isa, Vector, MULTIPLY_ADD)                                    \
    struct name {                                                                         \
        static constexpr int lanes = sizeof(Vector) / sizeof(float);                      \
        GRUFAST_TARGET(isa) static void multiply_add() {                                  \
            Vector x = Vector{} + 0.5f, y = Vector{} + 1.0f, chains[kChains] = {};        \
            for (int link = 0; link < kLinks; ++link) {                                   \
                _Pragma("GCC unroll 16") for (int i = 0; i < kChains; ++i) {              \
                    Vector a = chains[i];                                                 \
                    a = MULTIPLY_ADD;                                                     \
                    asm volatile("" : GRUFAST_REGISTER(a));                               \
                    chains[i] = a;                                                        \
                }                                                                         \
            }                                                                             \
        }                                                                                 \
        GRUFAST_TARGET(isa) static void read(const float* p, const float* end) {          \
            Vector sums[kSums] = {};                                                      \
            for (; p < end; p += kSums * lanes) {                                         \
                _Pragma("GCC unroll 16") for (int i = 0; i < kSums; ++i) {                \
                    Vector a = sums[i] + *reinterpret_cast<const Vector*>(p + i * lanes); \
                    asm volatile("" : GRUFAST_REGISTER(a));                               \
                    sums[i] = a;                                                          \
                }                                                                         \
            }                                                                             \
        }                                                                                 \
    };

#if defined(__x86_64__)
GRUFAST_LOOPS(Sse2, "sse2", __m128, _mm_add_ps(_mm_mul_ps(a, x), y))
GRUFAST_LOOPS(Avx2, "avx2,fma", __m256, _mm256_fmadd_ps(a, x, y))
GRUFAST_LOOPS(Avx512, "avx512f", __m512, _mm512_fmadd_ps(a, x, y))
#elif defined(__aarch64__)
GRUFAST_LOOPS(Neon, "", float32x4_t, vfmaq_f32(y, a, x))
#endif

template <class Loops>
void add_multiply_add(const std::string& isa, int threads) {
    const auto body = [](benchmark::State& state) {
        for (auto _ : state) Loops::multiply_add();
        state.counters["FLOPS"] = rate(state, 2.0 * kLinks * kChains * Loops::lanes);
    };
    benchmark::RegisterBenchmark(("fma/f32/" + isa).c_str(), body)
        ->Threads(threads)
        ->UseRealTime();
}

template <class Loops>
void add_reads(int threads) {
    for (Index kib = 16; kib <= 256 * 1024; kib *= 2) {
        const auto body = [kib](benchmark::State& state) {
            const Array<float> memory(kib * 1024 / Index{sizeof(float)}, 1.0);
            for (auto _ : state) Loops::read(memory.begin(), memory.end());
            state.SetBytesProcessed(state.iterations() * kib * 1024);
        };
        const std::string size =
            kib < 1024 ? std::to_string(kib) + "KiB" : std::to_string(kib / 1024) + "MiB";
        benchmark::RegisterBenchmark(("read/" + size).c_str(), body)
            ->Threads(threads)
            ->UseRealTime();
    }
}

void add_all(int threads) {
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = __builtin_cpu_supports("avx512f");
    add_multiply_add<Sse2>("sse2", threads);
    if (avx2) add_multiply_add<Avx2>("avx2", threads);
    if (avx512) add_multiply_add<Avx512>("avx512", threads);
    (avx512 ? add_reads<Avx512> : avx2 ? add_reads<Avx2> : add_reads<Sse2>)(threads);
#elif defined(__aarch64__)
    add_multiply_add<Neon>("neon", threads);
    add_reads<Neon>(threads);
#endif
}

}  // namespace
}  // namespace grufast

int main(int argc, char** argv) {
    const int most = grufast::num_threads();
    grufast::add_all(1);
    if (most > 1) grufast::add_all(most);
    return grufast::run_benchmarks(argc, argv);
}
