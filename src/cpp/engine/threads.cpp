#include "threads.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>

#ifndef _WIN32
#include <pthread.h>
#endif

namespace grufast {
namespace {

int initial_threads() {
    if (const char* text = std::getenv("GRUFAST_NUM_THREADS"); text && *text) {
        char* end = nullptr;
        const long n = std::strtol(text, &end, 10);
        if (*end != '\0' || n < 1 || n > kMaxThreads) {
            throw std::invalid_argument("GRUFAST_NUM_THREADS: got '" + std::string(text) +
                                        "', expected an integer from 1 to " +
                                        std::to_string(kMaxThreads));
        }
        return static_cast<int>(n);
    }
#ifdef _OPENMP
    return std::min(omp_get_max_threads(), kMaxThreads);
#else
    return 1;
#endif
}

std::atomic<int>& threads() {
    static std::atomic<int> n{initial_threads()};
    return n;
}

std::atomic<bool> used{false};    // the process has a pool of threads
std::atomic<bool> orphan{false};  // the pool belonged to the parent

}  // namespace

int num_threads() { return orphan.load(std::memory_order_relaxed) ? 1 : threads().load(); }

void set_num_threads(int n) {
    if (n < 1 || n > kMaxThreads) {
        throw std::invalid_argument("n: got " + std::to_string(n) +
                                    ", expected an integer from 1 to " +
                                    std::to_string(kMaxThreads));
    }
    threads().store(n);
}

int threads_for(double operations) {
    constexpr double kOperationsPerThread = 3e5;
    const double worth = operations / kOperationsPerThread;
    const int most = num_threads();
    return worth >= most ? most : std::max(1, static_cast<int>(worth));
}

void mark_threads_used() {
    if (used.exchange(true)) return;
#ifndef _WIN32
    pthread_atfork(nullptr, nullptr, [] { orphan.store(true); });
#endif
}

}  // namespace grufast
