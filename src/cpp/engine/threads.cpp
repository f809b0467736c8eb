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

// When partners were last late: a hint for speed, of no consequence for results.
std::atomic<double> busy_until{0}, busy_pause{0};
std::atomic<int> late_calls{0};  // in a row
std::atomic<bool> adaptive{true};

double seconds_now() {
    return Seconds(std::chrono::steady_clock::now().time_since_epoch()).count();
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
    constexpr double kShortCall = 1e9;  // some 10 ms: a late partner costs little of it
    const double worth = operations / kOperationsPerThread;
    if (worth < 2 || (operations < kShortCall && seconds_now() < busy_until.load())) return 1;
    const int most = num_threads();
    return worth >= most ? most : static_cast<int>(worth);
}

// A partner that the scheduler left waiting shows up as waiting here. When it happened in
// several calls in a row, the next ones do without it, for longer each time, up to half a
// second; then another try is made. One late call says little: after a pause partners have to
// be woken.
void note_waiting(Seconds waited, Seconds total) {
    constexpr double kLate = 200e-6, kFirstPause = 10e-3, kLongestPause = 0.5;
    constexpr int kLateCalls = 3;
    if (!adaptive.load() || waited.count() < kLate || waited.count() < 0.3 * total.count()) {
        if (late_calls.load() > 0) late_calls.store(0);
        if (busy_pause.load() > 0) busy_pause.store(0);
        return;
    }
    if (late_calls.fetch_add(1) + 1 < kLateCalls) return;
    late_calls.store(0);
    const double pause = std::clamp(2 * busy_pause.load(), kFirstPause, kLongestPause);
    busy_pause.store(pause);
    busy_until.store(seconds_now() + pause);
}

void set_adaptive(bool on) {
    adaptive.store(on);
    busy_until.store(0);
    busy_pause.store(0);
    late_calls.store(0);
}

void mark_threads_used() {
    if (used.exchange(true)) return;
#ifndef _WIN32
    pthread_atfork(nullptr, nullptr, [] { orphan.store(true); });
#endif
}

}  // namespace grufast
